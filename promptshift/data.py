"""`python -m promptshift.data`, an earlier form of `promptshift data`."""

import sys

from promptshift.cli.data import main

if __name__ == "__main__":
    sys.exit(main())
