#!/bin/sh
# PromptSync, predicted class frequencies:  ablation_class_balance.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS (the first), GPUS, JOBS, CFG, IMAGES (200); see promptshift study --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" study class_balance "$@"
