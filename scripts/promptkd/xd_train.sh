#!/bin/sh
# PromptKD, trained on the unlabelled images of DATASET and tested on it:
#     xd_train.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG.
set -eu
dataset=${1:?DATASET SEED} seed=${2:?SEED}; shift 2
exec sh "$(dirname -- "$0")/../step.sh" few_shot PromptKD vit_b16_c2_ep20_batch8_4+4ctx_cross_datasets "$dataset" 0 \
    TRAINER.PROMPTKD.MODAL cross "$@" --seeds "$seed"
