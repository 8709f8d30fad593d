#!/bin/sh
# MaPLe, trained on 16 shots of all classes of DATASET (imagenet):
#     xd_train_maple.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" xd_train MaPLe vit_b16_c2_ep5_batch4_2ctx_cross_datasets "$@"
