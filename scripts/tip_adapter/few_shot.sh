#!/bin/sh
# Tip-Adapter with SHOTS images per class, as the released main.py:  few_shot.sh DATASET SHOTS [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../step.sh" few_shot TipAdapter default "$@"
