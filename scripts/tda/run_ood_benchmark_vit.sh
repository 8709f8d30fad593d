#!/bin/sh
# TDA on ImageNet and its four variants with ViT-B/16:  run_ood_benchmark_vit.sh [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1"), GPUS, JOBS.
set -eu
exec sh "$(dirname -- "$0")/tda_runner.sh" I/A/V/R/S ViT-B/16 "$@"
