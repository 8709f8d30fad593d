"""Few-shot curves: `python draw_curves.py DATASET`, or of every finished run without words."""

import sys

from promptshift.cli.upstream.programs import draw_curves

if __name__ == "__main__":
    sys.exit(draw_curves(sys.argv[1:]))
