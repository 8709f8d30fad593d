#!/bin/sh
# DPSPG, prompts of one image from several seeds, against SPG:  ablation_variability.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift study --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" study variability "$@"
