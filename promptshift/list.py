"""`python -m promptshift.list`, an earlier form of `promptshift list`."""

import sys

from promptshift.cli.list import main

if __name__ == "__main__":
    sys.exit(main())
