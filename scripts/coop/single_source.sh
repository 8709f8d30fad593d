#!/bin/sh
# CoOp, one source domain, tested on all the others:  single_source.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1", as in SPG's tables), GPUS, JOBS, CFG.
set -eu
SEEDS=${SEEDS:-1} exec sh "$(dirname -- "$0")/../promptshift.sh" run single_source CoOp "$@"
