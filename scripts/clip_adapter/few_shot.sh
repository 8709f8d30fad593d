#!/bin/sh
# CLIP-Adapter with SHOTS images per class under CoOp's schedule for RN50:  few_shot.sh DATASET SHOTS [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG (rn50_ep100 for 2 and 4 shots, rn50_ep50 for 1).
set -eu
exec sh "$(dirname -- "$0")/../step.sh" few_shot CLIP_Adapter rn50 "$@"
