"""`python -m promptshift.protocols`, an earlier form of `promptshift run`."""

import sys

from promptshift.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
