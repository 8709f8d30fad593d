#!/bin/sh
# PromptKD, trained on the unlabelled images of DATASET and tested on it:
#     xd_train.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" unlabelled_train PromptKD vit_b16_c2_ep20_batch8_4+4ctx_cross_datasets "$@"
