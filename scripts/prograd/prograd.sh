#!/bin/sh
# ProGrad with SHOTS images per class:
#     prograd.sh DATASET CFG CTP NCTX SHOTS CSC
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift run --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as coop_main ProGrad "$@"
