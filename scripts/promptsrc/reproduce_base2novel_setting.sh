#!/bin/sh
# PromptSRC: the released weights in WEIGHTSPATH/base/seed<SEED>, evaluated:
#     reproduce_base2novel_setting.sh DATASET SEED WEIGHTSPATH [KEY VALUE ...]
# Results go below $OUTPUT/reproduce. From the environment: DATA, OUTPUT, CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" reproduce_base2new PromptSRC vit_b16_c2_ep20_batch4_4+4ctx "$@"
