#!/bin/sh
# A linear probe of OxfordPets for 1 to 16 images of each class, as CoOp's lpclip:  linear_probe.sh [KEY VALUE ...]
# From the environment: DATASET (oxford_pets), DATA, OUTPUT, SEEDS (1 2 3), GPUS, JOBS.
set -eu
exec sh "$(dirname -- "$0")/../scripts/promptshift.sh" run few_shot_sweep LinearProbe "${DATASET:-oxford_pets}" RN50 "$@"
