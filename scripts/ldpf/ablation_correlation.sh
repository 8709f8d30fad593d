#!/bin/sh
# LDPF, the adversarial loss where class and domain are correlated:  ablation_correlation.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift study --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" study correlation "$@"
