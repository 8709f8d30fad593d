#!/bin/sh
# TPT on the prompts of CoOp, in its repository's words and with its RN50:
#     test_tpt_coop.sh TESTSETS [BACKBONE] [KEY VALUE ...], e.g. A/R/V/K
# From the environment: DATA, OUTPUT, SEEDS (0), GPUS, JOBS, CFG, SOURCE (imagenet).
set -eu
exec sh "$(dirname -- "$0")/promptshift.sh" run --as tpt TPT "$@" TRAINER.TPT.PROMPT CoOp TRAINER.TPT.START.CONFIG rn50_ep50_ctxv1
