"""`python -m promptshift.prototypes`, an earlier form of `promptshift prototypes`."""

import sys

from promptshift.cli.prototypes import main

if __name__ == "__main__":
    sys.exit(main())
