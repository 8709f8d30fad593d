#!/bin/sh
# PromptSync, do text and vision prototypes agree:  ablation_prototype_agreement.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS (the first), GPUS, JOBS, CFG; see promptshift.figures --help.
set -eu
export MODULE=promptshift.figures
exec sh "$(dirname -- "$0")/../protocol.sh" prototype_agreement "$@"
