"""`python -m promptshift.report`, an earlier form of `promptshift report`."""

import sys

from promptshift.cli.report import main

if __name__ == "__main__":
    sys.exit(main())
