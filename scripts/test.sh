#!/bin/sh
# DPSPG: the weights in $WEIGHTS/DATASET/BACKBONE/<domain> (test_models), tested, in its repository's words:
#     test.sh DATASET CFG BACKBONE [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/promptshift.sh" run --as dpspg_test DPSPG "$@"
