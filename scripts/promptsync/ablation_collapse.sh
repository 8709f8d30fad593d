#!/bin/sh
# PromptSync, variance of adapted prompts and features:  ablation_collapse.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS (the first), GPUS, JOBS, CFG, IMAGES (200); see promptshift.figures --help.
set -eu
export MODULE=promptshift.figures
exec sh "$(dirname -- "$0")/../protocol.sh" collapse "$@"
