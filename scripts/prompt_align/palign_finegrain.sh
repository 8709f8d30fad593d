#!/bin/sh
# PromptAlign in its repository's words: NAME's prompts in weights/maple/NAME/seed<SEED>, else trained first:
#     palign_finegrain.sh DATASET SEED [NAME] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG, SOURCE (imagenet), WEIGHTS (weights/maple).
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as palign PromptAlign "$@" --default-config finegrain_PAlign_vit_b16_c2_ep5_batch4_2ctx_cross_datasets
