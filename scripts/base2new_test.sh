#!/bin/sh
# KgCoOp, tested on the new classes, in its repository's words; trained first if need be:
#     base2new_test.sh DATASET WEIGHT [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/promptshift.sh" run --as kgcoop_test KgCoOp "$@" --default-config vit_b16_ep100_ctxv1
