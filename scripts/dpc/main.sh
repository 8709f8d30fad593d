#!/bin/sh
# DPC on top of another method, base to new:  main.sh DATASET [BACKBONE_METHOD] [KEY VALUE ...]
# BACKBONE_METHOD: CoOp (the default), KgCoOp, MaPLe, IVLP, PromptSRC or PromptKD. Several DATASETs: a,b,c or all.
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift run --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as dpc DPC "$@"
