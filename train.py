"""CoOp's entry point: trains and tests one configuration. `python train.py --help` lists the flags."""

import sys

from promptshift.runs.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
