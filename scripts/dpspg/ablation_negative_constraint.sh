#!/bin/sh
# DPSPG, the negative constraint, class by class:  ablation_negative_constraint.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift study --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" study negative_constraint "$@"
