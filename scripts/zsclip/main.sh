#!/bin/sh
# Zero-shot CLIP on every domain in turn, or on base and new classes where DATASET has no domains:
#        main.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG. Nothing is drawn at random, so one seed is enough.
set -eu
SEEDS=${SEEDS:-1} exec sh "$(dirname -- "$0")/../promptshift.sh" run main ZeroshotCLIP "$@"
