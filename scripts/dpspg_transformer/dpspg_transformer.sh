#!/bin/sh
# DPSPG, leave one domain out, in its repository's words:
#     dpspg_transformer.sh DATASET BACKBONE [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as dpspg DPSPG "$@"
