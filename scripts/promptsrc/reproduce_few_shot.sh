#!/bin/sh
# PromptSRC: the released weights in WEIGHTSPATH/<SHOTS>shot/seed<K>, evaluated:
#     reproduce_few_shot.sh DATASET SHOTS WEIGHTSPATH [KEY VALUE ...]
# Results go below $OUTPUT/reproduce. From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" reproduce_few_shot PromptSRC vit_b16_c2_ep50_batch4_4+4ctx_few_shot "$@"
