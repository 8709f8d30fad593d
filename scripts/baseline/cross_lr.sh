#!/bin/sh
# The linear probe of SPG's repository on whole datasets; refused with the reason:
#     cross_lr.sh BACKBONE TRAINER [GPU] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as baseline_probe "$@"
