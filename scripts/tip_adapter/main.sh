#!/bin/sh
# Tip-Adapter; leaves one domain out, or goes from base to new classes where DATASET has no domains:
#        main.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift run --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run main TipAdapter "$@"
