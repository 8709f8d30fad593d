#!/bin/sh
# ProGrad, trained on 4 shots of ImageNet, tested on DATASET; trained first if need be:
#     eval.sh DATASET CFG [KEY VALUE ...]      (the published numbers are those of rn50_ep50)
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS. SOURCE (imagenet): trained on.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as xd_eval ProGrad "$@" DATASET.NUM_SHOTS 4
