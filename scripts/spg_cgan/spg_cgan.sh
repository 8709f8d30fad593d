#!/bin/sh
# SPG, leave one domain out, in its repository's words:
#     spg_cgan.sh DATASET CFG BACKBONE [GPU] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as spg_multi SPG "$@"
