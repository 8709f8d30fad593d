#!/bin/sh
# PromptSRC, trained on 16 shots of the base classes, tested on base:
#     base2new_train.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" base2new_train PromptSRC vit_b16_c2_ep20_batch4_4+4ctx "$@"
