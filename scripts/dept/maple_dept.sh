#!/bin/sh
# DePT on MaPLe from base to new classes, as upstream's parallel_runner.py --cfg maple_dept:
#     maple_dept.sh [DATASET] [KEY VALUE ...]      (without DATASET all eleven)
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift run --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as base2new DePT "$@" TRAINER.DEPT.BACKBONE MaPLe --default-config vit_b16_c2_ep10_batch4_2ctx
