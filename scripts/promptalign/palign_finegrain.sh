#!/bin/sh
# PromptAlign, from prompts of ImageNet:  palign_finegrain.sh DATASET SEED [NAME] [KEY VALUE ...]
# NAME: those of weights/maple/NAME/seed<SEED>; without it they are trained first. From the environment: DATA, OUTPUT,
# GPUS, JOBS, CFG, SOURCE (imagenet), WEIGHTS (weights/maple).
set -eu
[ $(($# % 2)) -eq 1 ] || exec sh "$(dirname -- "$0")/../step.sh" xd_test PromptAlign default "$@"
dataset=$1 seed=${2:?usage: DATASET SEED [NAME]} name=$3; shift 3
exec sh "$(dirname -- "$0")/../step.sh" reproduce_xd PromptAlign default "$dataset" "$seed" "${WEIGHTS:-weights/maple}/$name" "$@"
