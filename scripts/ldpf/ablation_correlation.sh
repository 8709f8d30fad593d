#!/bin/sh
# LDPF, the adversarial loss where class and domain are correlated:  ablation_correlation.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see python -m promptshift.figures --help.
set -eu
export MODULE=promptshift.figures
exec sh "$(dirname -- "$0")/../protocol.sh" correlation "$@"
