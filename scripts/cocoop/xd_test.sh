#!/bin/sh
# CoCoOp, trained on ImageNet, tested on DATASET; trained first if need be:
#     xd_test.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG. SOURCE (imagenet): trained on.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" xd_test CoCoOp vit_b16_c4_ep10_batch1_ctxv1 "$@"
