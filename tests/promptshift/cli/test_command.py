"""What the small commands share."""

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]


def test_a_reader_that_has_seen_enough_ends_a_command_silently():
    """As in `promptshift list | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    program = (
        "import sys; from promptshift.cli.command import answer\n"
        "sys.exit(answer(lambda words: print('line\\n' * 100_000) or 0, []))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, cwd=CHECKOUT, check=False
    )
    os.close(writer)
    assert done.returncode == 141 and done.stderr == b""
