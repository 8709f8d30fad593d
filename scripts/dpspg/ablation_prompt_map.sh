#!/bin/sh
# DPSPG, t-SNE of generated prompts, against SPG:  ablation_prompt_map.sh DATASET [BACKBONE] [KEY VALUE ...]
# From the environment: DATA, OUTPUT, SEEDS ("1 2 3"), GPUS, JOBS, CFG; see promptshift study --help.
set -eu
exec sh "$(dirname -- "$0")/../promptshift.sh" study prompt_map "$@"
