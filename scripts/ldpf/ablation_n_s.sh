#!/bin/sh
# LDPF, number of latent domains and the gap to the oracle:  ablation_n_s.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see python -m promptshift.figures --help.
set -eu
export MODULE=promptshift.figures
exec sh "$(dirname -- "$0")/../protocol.sh" n_s "$@"
