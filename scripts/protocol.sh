#!/bin/sh
# Runs a protocol from any directory:  sh scripts/protocol.sh PROTOCOL TRAINER DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift run --help.
set -eu
exec sh "$(dirname -- "$0")/promptshift.sh" run "$@"
