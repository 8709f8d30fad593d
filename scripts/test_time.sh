#!/bin/sh
# A method that adapts at test time:  sh scripts/test_time.sh TRAINER CONFIG DATASET [SEED] [BACKBONE] [KEY VALUE ...]
#   several domains (pacs, mini ...)      leave one domain out
#   imagenet                              its four variants; each of them alone by its own name
#   CoOp's other ten (caltech101 ...)     prompts from $SOURCE (imagenet), tested on DATASET
#   any other                             base to new
# DATASET may be several with / between them, and in TPT's names (A R V K I, Flower102, Pets ...). CONFIG is the
# trainer's configuration file for ImageNet and its variants.
set -eu
trainer=$1 config=$2
shift 2
[ $# -ge 1 ] || { echo "error: DATASET is missing; usage: DATASET [SEED] [BACKBONE] [KEY VALUE ...]" >&2; exit 2; }
datasets=$1
shift
case ${1:-} in '' | *[!0-9]*) ;; *) export SEEDS="$1"; shift ;; esac
run() { sh "$(dirname -- "$0")/promptshift.sh" run "$@"; }
for name in $(echo "$datasets" | tr / ' '); do
    case $name in
        I) dataset=imagenet ;; V) dataset=imagenetv2 ;; A) dataset=imagenet_a ;; R) dataset=imagenet_r ;;
        K) dataset=imagenet_sketch ;; Flower102) dataset=oxford_flowers ;; Cars) dataset=stanford_cars ;;
        Pets) dataset=oxford_pets ;; Aircraft) dataset=fgvc_aircraft ;; Food101) dataset=food101 ;;
        SUN397 | DTD | UCF101 | Caltech101) dataset=$(echo "$name" | tr '[:upper:]' '[:lower:]') ;;
        *) dataset=$name ;;
    esac
    case $dataset in
        imagenet) run imagenet_variants "$trainer" imagenet "$@" --default-config "$config" ;;
        imagenetv2 | imagenet_a | imagenet_r | imagenet_sketch)
            run imagenet_variants "$trainer" "${SOURCE:-imagenet}" "$@" --targets "$dataset" --default-config "$config" ;;
        mini_b2n_*) run imagenet_variants "$trainer" "${SOURCE:-mini_b2n}" "$@" --targets "$dataset" ;;
        caltech101 | oxford_pets | stanford_cars | oxford_flowers | food101 | fgvc_aircraft | sun397 | dtd | eurosat | \
            ucf101) run xd "$trainer" "${SOURCE:-imagenet}" "$@" --targets "$dataset" ;;
        *) run main "$trainer" "$dataset" "$@" ;;
    esac
done
