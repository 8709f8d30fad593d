#!/bin/sh
# DePT on CoOp from base to new classes, as upstream's parallel_runner.py --cfg coop_dept:
#     coop_dept.sh [DATASET] [KEY VALUE ...]      (without DATASET all eleven)
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift run --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as base2new DePT "$@" TRAINER.DEPT.BACKBONE CoOp --default-config vit_b16_ep10_bs4_lr35
