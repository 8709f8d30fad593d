"""Linear probes of CLIP: `python lpclip/linear_probe.py --dataset OxfordPets --num_run 3`, flags as in CoOp."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from promptshift.cli.upstream.programs import linear_probe  # noqa: E402

if __name__ == "__main__":
    sys.exit(linear_probe(sys.argv[1:]))
