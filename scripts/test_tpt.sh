#!/bin/sh
# TPT on the hand prompt, in its repository's words and with its RN50:
#     test_tpt.sh TESTSETS [BACKBONE] [KEY VALUE ...], e.g. A/R/V/K
# From the environment: DATA, OUTPUT, SEEDS (0), GPUS, JOBS, CFG, SOURCE (imagenet).
set -eu
exec sh "$(dirname -- "$0")/promptshift.sh" run --as tpt TPT "$@"
