#!/bin/sh
# DPSPG, stage one alone: two prompt labels of every domain, in its repository's words:
#     dpspg_coop.sh DATASET BACKBONE [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as dpspg_labels DPSPGLabels "$@"
