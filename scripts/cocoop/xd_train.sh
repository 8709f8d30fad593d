#!/bin/sh
# CoCoOp, trained on 16 shots of all classes of ImageNet:
#     xd_train.sh SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG. SOURCE (imagenet): trained on.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" source_train CoCoOp vit_b16_c4_ep10_batch1_ctxv1 "$@"
