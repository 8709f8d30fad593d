#!/bin/sh
# Zero-shot CLIP on one dataset:  zeroshot.sh DATASET CFG [KEY VALUE ...]   (CFG of configs/trainers/CoOp, as in CoOp)
# Writes to output/ZeroshotCLIP/CFG/DATASET. From the environment: DATA, OUTPUT.
set -eu
[ $# -ge 2 ] || { echo "error: zeroshot.sh takes DATASET and CFG, got $# arguments" >&2; exit 2; }
dataset=$1 config=$2; shift 2
exec sh "$(dirname -- "$0")/../promptshift.sh" run zero_shot ZeroshotCLIP "$dataset" "$@" --config "CoOp/$config"
