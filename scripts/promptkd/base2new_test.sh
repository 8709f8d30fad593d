#!/bin/sh
# PromptKD, tested on the new classes; trained first if need be:
#     base2new_test.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" base2new_test PromptKD default "$@"
