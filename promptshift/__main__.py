"""`python -m promptshift`, the same as the command `promptshift`."""

import sys

from promptshift.cli import main

if __name__ == "__main__":
    sys.exit(main())
