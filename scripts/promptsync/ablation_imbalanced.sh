#!/bin/sh
# PromptSync, accuracy by class frequency on a long-tailed stream:  ablation_imbalanced.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS (the first), GPUS, JOBS, CFG, IMAGES (200), RATIO (10).
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" study imbalanced "$@"
