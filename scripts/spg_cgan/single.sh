#!/bin/sh
# SPG, one source domain, in its repository's words:
#     single.sh DATASET CFG BACKBONE [GPU] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as spg_single SPG "$@"
