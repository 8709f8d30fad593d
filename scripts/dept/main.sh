#!/bin/sh
# DePT on top of another method:  main.sh DATASET [METHOD] [KEY VALUE ...]
# METHOD: CoOp (the default), CoCoOp, KgCoOp or MaPLe.
# Base to new, for several DATASETs (a,b,c or all) with their mean; leave one domain out where DATASET has domains.
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift run --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as dept DePT "$@"
