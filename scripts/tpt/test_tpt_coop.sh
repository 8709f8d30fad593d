#!/bin/sh
# TPT on the prompts of CoOp:  test_tpt_coop.sh TESTSETS, e.g. A/R/V/K
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG, SOURCE; see scripts/test_time.sh.
set -eu
SEEDS=${SEEDS:-0} exec sh "$(dirname -- "$0")/../test_time.sh" TPT default "$@" TRAINER.TPT.PROMPT CoOp TRAINER.TPT.START.CONFIG vit_b16_ep50_ctxv1
