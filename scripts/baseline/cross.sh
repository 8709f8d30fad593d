#!/bin/sh
# A baseline of SPG's repository, trained on DomainNet, tested on its other four datasets:
#     cross.sh BACKBONE TRAINER [GPU] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as baseline_cross "$@"
