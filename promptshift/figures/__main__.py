"""`python -m promptshift.figures`, an earlier form of `promptshift study`."""

import sys

from promptshift.cli.study import main

if __name__ == "__main__":
    sys.exit(main())
