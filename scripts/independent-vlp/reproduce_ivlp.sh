#!/bin/sh
# Independent vision-language prompting: the released weights in WEIGHTSPATH/base/seed<SEED>, evaluated:
#     reproduce_ivlp.sh DATASET SEED WEIGHTSPATH [KEY VALUE ...]
# From the environment: DATA, OUTPUT, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as reproduce_base2new IVLP "$@" --default-config vit_b16_c2_ep5_batch4_2+2ctx
