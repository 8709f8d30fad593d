#!/bin/sh
# A method that adapts at test time:  sh scripts/test_time.sh TRAINER CONFIG DATASET [SEED] [BACKBONE] [KEY VALUE ...]
#   several domains (pacs, mini ...)      leave one domain out
#   imagenet                              its four variants; each of them alone by its own name
#   CoOp's other ten (caltech101 ...)     prompts from $SOURCE (imagenet), tested on DATASET
#   any other                             base to new
# DATASET may be several with / between them, and in TPT's names (A R V K I, Flower102, Pets ...). CONFIG is the
# trainer's configuration file for ImageNet and its variants.
set -eu
exec sh "$(dirname -- "$0")/step.sh" test_time "$@"
