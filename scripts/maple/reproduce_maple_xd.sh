#!/bin/sh
# MaPLe trained on ImageNet: the released weights in WEIGHTSPATH/seed<SEED>, evaluated:
#     reproduce_maple_xd.sh DATASET SEED WEIGHTSPATH [KEY VALUE ...]
# Results go below $OUTPUT/reproduce. From the environment: DATA, OUTPUT, CFG. SOURCE (imagenet): trained on.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" reproduce_xd MaPLe vit_b16_c2_ep5_batch4_2ctx_cross_datasets "$@"
