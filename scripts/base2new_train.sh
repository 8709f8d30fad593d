#!/bin/sh
# KgCoOp, trained on 16 shots of the base classes, in its repository's words:
#     base2new_train.sh DATASET WEIGHT [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/promptshift.sh" run --as kgcoop_train KgCoOp "$@" --default-config vit_b16_ep100_ctxv1
