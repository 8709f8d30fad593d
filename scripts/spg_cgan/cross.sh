#!/bin/sh
# SPG, trained on DomainNet, tested on whole other datasets, in its repository's words:
#     cross.sh CFG BACKBONE [GPU] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as spg_cross SPG "$@"
