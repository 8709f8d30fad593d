#!/bin/sh
# KgCoOp, trained on 16 shots of the base classes, tested on base:
#     base2new_train.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" base2new_train KgCoOp vit_b16_ep100_ctxv1 "$@"
