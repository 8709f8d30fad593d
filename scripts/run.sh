#!/bin/sh
# KgCoOp's ten datasets from base to new, WEIGHT 8.0, in its repository's words:
#     run.sh [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/promptshift.sh" run --as kgcoop_run KgCoOp "$@" --default-config vit_b16_ep100_ctxv1
