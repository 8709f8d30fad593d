#!/bin/sh
# ProGrad, tested on the new classes; trained first if need be:
#     base2new_test_prograd.sh DATASET [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift run --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as base2new ProGrad "$@" DATASET.NUM_SHOTS 4 --default-config rn50_ep100
