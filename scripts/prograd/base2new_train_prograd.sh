#!/bin/sh
# ProGrad, trained on 4 shots of the base classes, tested on base:
#     base2new_train_prograd.sh DATASET [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift run --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as base2new_seeds ProGrad "$@" DATASET.NUM_SHOTS 4 --default-config rn50_ep100
