#!/bin/sh
# One step of a protocol in the words of the public scripts:  sh scripts/step.sh STEP TRAINER CONFIG WORDS...
# STEP and WORDS: the forms of `promptshift run --help`, such as base2new_train DATASET SEED. CONFIG is the trainer's
# configuration file for datasets without one of their own; more KEY VALUE words may follow.
set -eu
[ $# -ge 3 ] || { echo "error: step.sh takes STEP TRAINER CONFIG WORDS, got $# words" >&2; exit 2; }
step=$1 trainer=$2 config=$3; shift 3
exec sh "$(dirname -- "$0")/promptshift.sh" run --as "$step" "$trainer" "$@" --default-config "$config"
