"""TPT's entry point: `python tpt_classification.py DIR --test_sets A/R/V/K -a RN50 -b 64 --tpt`, flags as in TPT."""

import sys

from promptshift.cli.upstream.tpt_words import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
