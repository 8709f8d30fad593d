#!/bin/sh
# LDPF, latent domains coarser and finer than the annotated ones:  ablation_granularity.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift study --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" study granularity "$@"
