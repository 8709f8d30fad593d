#!/bin/sh
# Independent vision-language prompting, trained on 16 shots of the base classes, tested on base:
#     base2new_train_ivlp.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" base2new_train IVLP vit_b16_c2_ep5_batch4_2+2ctx "$@"
