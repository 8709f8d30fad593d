#!/bin/sh
# TPT on the hand prompt, in its own words:  test_tpt.sh TESTSETS, e.g. A/R/V/K or Flower102/DTD/Pets
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG, SOURCE; see scripts/test_time.sh.
set -eu
SEEDS=${SEEDS:-0} exec sh "$(dirname -- "$0")/../test_time.sh" TPT default "$@"
