#!/bin/sh
# PromptSRC with SHOTS images per class:
#     few_shot.sh DATASET SHOTS [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" few_shot PromptSRC vit_b16_c2_ep50_batch4_4+4ctx_few_shot "$@"
