#!/bin/sh
# PromptKD, trained on the unlabelled images of DATASET and tested on it:
#     xd_train.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as unlabelled_train PromptKD "$@"
