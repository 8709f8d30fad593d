#!/bin/sh
# KgCoOp, trained on 4 shots of all classes of eleven datasets, in its repository's words:
#     xd_train.sh [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/promptshift.sh" run --as kgcoop_xd KgCoOp "$@" --default-config vit_b16_ep100_ctxv1
