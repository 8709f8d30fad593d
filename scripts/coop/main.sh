#!/bin/sh
# CoOp.  Few-shot as in CoOp:   main.sh DATASET CFG CTP NCTX SHOTS CSC     (seeds 1 2 3)
#        Leave one domain out:  main.sh DATASET [BACKBONE] [KEY VALUE ...]
#        Base to new, where DATASET has no domains: the same words; several DATASETs (a,b,c or all) with their mean.
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run coop_main "$@"
