#!/bin/sh
# SPG, stage one alone: a prompt label of every domain, in its repository's words:
#     spg_coop.sh DATASET BACKBONE [GPU] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as spg_labels SPGLabels "$@"
