#!/bin/sh
# PromptSRC, trained on ImageNet, tested on DATASET; trained first if need be:
#     xd_test.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG. SOURCE (imagenet): trained on.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" xd_test PromptSRC vit_b16_c2_ep20_batch4_4+4ctx_cross_datasets "$@"
