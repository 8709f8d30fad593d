#!/bin/sh
# VPT: the released weights in WEIGHTSPATH/base/seed<SEED>, evaluated:
#     reproduce_vpt.sh DATASET SEED WEIGHTSPATH [KEY VALUE ...]
# From the environment: DATA, OUTPUT, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as reproduce_base2new VPT "$@" --default-config vit_b16_c2_ep5_batch4_4
