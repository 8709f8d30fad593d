"""`python -m promptshift`, and `python path/to/promptshift` from any folder: the same as the command `promptshift`."""

import os
import sys

if not __package__:  # run as a folder, which then stands on the path itself: its parent takes the place
    sys.path[0] = os.path.dirname(os.path.abspath(sys.path[0]))

from promptshift.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
