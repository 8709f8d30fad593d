#!/bin/sh
# ProGrad.  Few-shot:  main.sh DATASET CFG CTP NCTX SHOTS CSC, as prograd.sh
#           Else:      main.sh DATASET [BACKBONE] [KEY VALUE ...]
# Base to new, for several DATASETs (a,b,c or all) with their mean; leave one domain out where DATASET has domains.
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift run --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" run --as coop_main ProGrad "$@"
