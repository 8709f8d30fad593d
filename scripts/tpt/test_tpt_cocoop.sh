#!/bin/sh
# TPT on the prompts of CoCoOp:  test_tpt_cocoop.sh TESTSETS, e.g. A/R/V/K
# From the environment: DATA, OUTPUT, SEEDS, GPUS, JOBS, CFG, SOURCE; see scripts/test_time.sh.
set -eu
SEEDS=${SEEDS:-0} exec sh "$(dirname -- "$0")/../test_time.sh" TPT default "$@" TRAINER.TPT.PROMPT CoCoOp TRAINER.TPT.START.CONFIG vit_b16_c4_ep10_batch1_ctxv1
