#!/bin/sh
# PromptKD, trained on all images of the base classes, their labels unread:
#     base2new_train.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as unlabelled_base2new PromptKD "$@"
