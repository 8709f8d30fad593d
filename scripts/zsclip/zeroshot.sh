#!/bin/sh
# Zero-shot CLIP on one dataset:  zeroshot.sh DATASET CFG [KEY VALUE ...]   (CFG of configs/trainers/CoOp, as in CoOp)
# Writes to output/ZeroshotCLIP/CFG/DATASET. From the environment: DATA, OUTPUT.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as zeroshot ZeroshotCLIP "$@"
