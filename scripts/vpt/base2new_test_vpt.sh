#!/bin/sh
# Deep visual prompting, tested on the new classes; trained first if need be:
#     base2new_test_vpt.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" base2new_test VPT vit_b16_c2_ep5_batch4_4 "$@"
