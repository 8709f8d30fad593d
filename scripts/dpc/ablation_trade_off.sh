#!/bin/sh
# DPC, base and new classes against the weights w_b and w_n:  ablation_trade_off.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift study --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" study trade_off "$@"
