#!/bin/sh
# PromptSync, do text and vision prototypes agree:  ablation_prototype_agreement.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS (the first), GPUS, JOBS, CFG; see promptshift study --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" study prototype_agreement "$@"
