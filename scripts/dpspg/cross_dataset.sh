#!/bin/sh
# DPSPG, trained on DATASET, tested on whole other ones:  cross_dataset.sh DATASET [BACKBONE] [KEY VALUE ...]
# DATASET is domainnet in the paper, mini in the embedded world.
# From the environment: DATA, OUTPUT, SEEDS ("1", as in SPG's tables), GPUS, JOBS, CFG.
set -eu
SEEDS=${SEEDS:-1} exec sh "$(dirname -- "$0")/../promptshift.sh" run cross_dataset DPSPG "$@"
