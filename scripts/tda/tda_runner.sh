#!/bin/sh
# TDA in its own words:  tda_runner.sh DATASETS [BACKBONE] [KEY VALUE ...], e.g. I/A/V/R/S RN50 or caltech101/dtd ViT-B/16
# From the environment: DATA, OUTPUT, SEEDS ("1"), GPUS, JOBS.
set -eu
SEEDS=${SEEDS:-1} exec sh "$(dirname -- "$0")/../promptshift.sh" run --as tda TDA "$@"
