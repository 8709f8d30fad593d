#!/bin/sh
# DePT on KgCoOp from base to new classes, as upstream's parallel_runner.py --cfg kgcoop_dept:
#     kgcoop_dept.sh [DATASET] [KEY VALUE ...]      (without DATASET all eleven)
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift run --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as base2new DePT "$@" TRAINER.DEPT.BACKBONE KgCoOp --default-config vit_b16_ep10_ctxv1_bs4_lr35
