#!/bin/sh
# Deep language prompting, tested on the new classes; trained first if need be:
#     base2new_test_lp.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" base2new_test IVLP vit_b16_c2_ep5_batch4_4ctx_language_only "$@"
