#!/bin/sh
# Deep visual prompting, trained on 16 shots of all classes of DATASET (imagenet):
#     xd_train_vpt.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" xd_train VPT vit_b16_c2_ep5_batch4_4 "$@"
