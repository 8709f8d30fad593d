#!/bin/sh
# CoOp, few-shot curves beside zero-shot CLIP and the linear probe:  ablation_few_shot.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift study --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" study few_shot_curves "$@"
