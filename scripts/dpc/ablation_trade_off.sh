#!/bin/sh
# DPC, base and new classes against the weights w_b and w_n:  ablation_trade_off.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see python -m promptshift.figures --help.
set -eu
export MODULE=promptshift.figures
exec sh "$(dirname -- "$0")/../protocol.sh" trade_off "$@"
