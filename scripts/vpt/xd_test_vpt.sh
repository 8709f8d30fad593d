#!/bin/sh
# Deep visual prompting, trained on ImageNet, tested on DATASET; trained first if need be:
#     xd_test_vpt.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG. SOURCE (imagenet): trained on.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" xd_test VPT vit_b16_c2_ep5_batch4_4 "$@"
