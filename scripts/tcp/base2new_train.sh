#!/bin/sh
# TCP from base to new classes, trained and tested:
#     base2new_train.sh [DATASET] [KEY VALUE ...]      (without DATASET all eleven)
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift run --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as base2new TCP "$@" --default-config vit_b16_ep100_ctxv1
