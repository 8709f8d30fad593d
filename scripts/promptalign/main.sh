#!/bin/sh
# PromptAlign; DATASET decides the protocol:  main.sh DATASET [SEED] [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG, SOURCE; see scripts/test_time.sh.
set -eu
exec sh "$(dirname -- "$0")/../test_time.sh" PromptAlign dg "$@"
