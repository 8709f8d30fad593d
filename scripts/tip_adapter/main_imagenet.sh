#!/bin/sh
# The released main_imagenet.py: 16 shots of ImageNet, alpha and beta searched on the test images, which the table calls
# an oracle:  main_imagenet.sh [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" few_shot TipAdapter default imagenet 16 TRAINER.TIP_ADAPTER.SEARCH oracle "$@"
