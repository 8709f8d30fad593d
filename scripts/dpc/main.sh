#!/bin/sh
# DPC on top of another method, base to new:  main.sh DATASET [BACKBONE_METHOD] [KEY VALUE ...]
# BACKBONE_METHOD: CoOp (the default), KgCoOp, MaPLe, IVLP, PromptSRC or PromptKD. Several DATASETs: a,b,c or all.
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift run --help.
set -eu
dataset=${1:?DATASET is needed} method=CoOp; shift
if [ $(($# % 2)) -eq 1 ]; then method=$1; shift; fi
exec sh "$(dirname -- "$0")/../promptshift.sh" run main DPC "$dataset" TRAINER.DPC.BACKBONE "$method" "$@"
