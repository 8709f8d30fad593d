#!/bin/sh
# One step of a protocol in the words of the public scripts:  sh scripts/step.sh STEP TRAINER CONFIG WORDS...
#   base2new_train | base2new_test         DATASET SEED              train on base | test on new (trained if need be)
#   xd_train | xd_test                     DATASET SEED              on DATASET | from $SOURCE (imagenet) to DATASET
#   few_shot                               DATASET SHOTS             the seeds of $SEEDS
#   reproduce_base2new                     DATASET SEED WEIGHTSPATH  evaluate WEIGHTSPATH/base/seed<SEED>
#   reproduce_xd                           DATASET SEED WEIGHTSPATH  evaluate WEIGHTSPATH/seed<SEED>
#   reproduce_few_shot                     DATASET SHOTS WEIGHTSPATH evaluate WEIGHTSPATH/<SHOTS>shot/seed<K>
# CONFIG is the trainer's configuration file for datasets without one of their own; more KEY VALUE words may follow.
set -eu
step=$1 trainer=$2 config=$3
shift 3
run() {
    protocol=$1
    shift
    exec sh "$(dirname -- "$0")/promptshift.sh" run "$protocol" "$trainer" "$@" --default-config "$config"
}
case $step in *few_shot) number=SHOTS ;; *) number=SEED ;; esac
case $step in
    reproduce_*) [ $# -ge 3 ] || { echo "error: it takes DATASET $number WEIGHTSPATH, got $#" >&2; exit 2; } ;;
    *) [ $# -ge 2 ] || { echo "error: it takes DATASET $number, got $#" >&2; exit 2; } ;;
esac
dataset=$1 number=$2
shift 2
case $step in
    reproduce_*)
        weights=$1
        shift
        case $weights in /* | '~'*) ;; *) weights=$PWD/$weights ;; esac
        ;;
esac
case $step in
    base2new_train) run base_to_new "$dataset" "$@" --seeds "$number" --train-only ;;
    base2new_test) run base_to_new "$dataset" "$@" --seeds "$number" ;;
    xd_train) run xd "$dataset" "$@" --seeds "$number" --train-only ;;
    xd_test) run xd "${SOURCE:-imagenet}" "$@" --targets "$dataset" --seeds "$number" ;;
    few_shot) run few_shot "$dataset" "$@" DATASET.NUM_SHOTS "$number" ;;
    reproduce_base2new) run base_to_new "$dataset" "$@" --seeds "$number" --weights "$weights/base" ;;
    reproduce_xd) run xd "${SOURCE:-imagenet}" "$@" --targets "$dataset" --seeds "$number" --weights "$weights" ;;
    reproduce_few_shot) run few_shot "$dataset" "$@" DATASET.NUM_SHOTS "$number" --weights "$weights/${number}shot" ;;
    *) echo "error: no step is called $step" >&2; exit 2 ;;
esac
