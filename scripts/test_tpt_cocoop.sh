#!/bin/sh
# TPT on the prompts of CoCoOp, in its repository's words and with its RN50:
#     test_tpt_cocoop.sh TESTSETS [BACKBONE] [KEY VALUE ...], e.g. A/R/V/K
# From the environment: DATA, OUTPUT, SEEDS (0), GPUS, JOBS, CFG, SOURCE (imagenet).
set -eu
exec sh "$(dirname -- "$0")/promptshift.sh" run --as tpt TPT "$@" TRAINER.TPT.PROMPT CoCoOp TRAINER.TPT.START.CONFIG vit_b16_c4_ep10_batch1_ctxv1
