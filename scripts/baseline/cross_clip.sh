#!/bin/sh
# Zero-shot CLIP (CLIP_ZS) on whole datasets:
#     cross_clip.sh BACKBONE TRAINER [GPU] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as baseline_cross "$@"
