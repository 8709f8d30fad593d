#!/bin/sh
# SPG: the weights in $WEIGHTS/DATASET/BACKBONE/<domain> (test_models), tested, in its repository's words:
#     test_all.sh DATASET CFG BACKBONE [GPU] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/promptshift.sh" run --as spg_test SPG "$@"
