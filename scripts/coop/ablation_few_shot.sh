#!/bin/sh
# CoOp, few-shot curves beside zero-shot CLIP and the linear probe:  ablation_few_shot.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see python -m promptshift.figures --help.
set -eu
export MODULE=promptshift.figures
exec sh "$(dirname -- "$0")/../protocol.sh" few_shot_curves "$@"
