#!/bin/sh
# Zero-shot CLIP on one dataset; CFG of configs/trainers/CoOp (rn50, rn101, vit_b32, vit_b16):
#     zeroshot.sh DATASET CFG [KEY VALUE ...]
# From the environment: DATA, OUTPUT.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as zeroshot ZeroshotCLIP "$@"
