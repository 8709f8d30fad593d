#!/bin/sh
# TDA; every domain in turn, or base and new classes where DATASET has no domains:  main.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3", each an order of the stream), GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run main TDA "$@"
