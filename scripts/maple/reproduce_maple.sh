#!/bin/sh
# MaPLe: the released weights in WEIGHTSPATH/base/seed<SEED>, evaluated:
#     reproduce_maple.sh DATASET SEED WEIGHTSPATH [KEY VALUE ...]
# Results go below $OUTPUT/reproduce. From the environment: DATA, OUTPUT, CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" reproduce_base2new MaPLe vit_b16_c2_ep5_batch4_2ctx "$@"
