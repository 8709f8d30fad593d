#!/bin/sh
# TDA on CoOp's ten other datasets with ViT-B/16:  run_cd_benchmark_vit.sh [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1"), GPUS, JOBS.
set -eu
exec sh "$(dirname -- "$0")/tda_runner.sh" caltech101/dtd/eurosat/fgvc/food101/oxford_flowers/oxford_pets/stanford_cars/sun397/ucf101 ViT-B/16 "$@"
