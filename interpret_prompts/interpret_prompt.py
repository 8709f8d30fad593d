"""../interpret_prompt.py under the name that MaPLe's repository gives it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from promptshift.cli.upstream.programs import interpret_prompt  # noqa: E402

if __name__ == "__main__":
    sys.exit(interpret_prompt(sys.argv[1:]))
