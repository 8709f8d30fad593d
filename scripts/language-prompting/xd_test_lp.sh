#!/bin/sh
# Deep language prompting, trained on ImageNet, tested on DATASET; trained first if need be:
#     xd_test_lp.sh DATASET SEED [KEY VALUE ...]
# From the environment: DATA, OUTPUT, GPUS, JOBS, CFG. SOURCE (imagenet): trained on.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" xd_test IVLP vit_b16_c2_ep5_batch4_4ctx_language_only "$@"
