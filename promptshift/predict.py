"""`python -m promptshift.predict`, an earlier form of `promptshift predict`."""

import sys

from promptshift.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
