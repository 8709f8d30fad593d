#!/bin/sh
# PromptAlign, from prompts of ImageNet:  palign_finegrain.sh DATASET SEED [NAME] [KEY VALUE ...]
# NAME: those of weights/maple/NAME/seed<SEED>; without it they are trained first. From the environment: DATA, OUTPUT,
# GPUS, JOBS, CFG, SOURCE (imagenet), WEIGHTS (weights/maple).
set -eu
exec sh "$(dirname -- "$0")/../step.sh" palign PromptAlign default "$@"
