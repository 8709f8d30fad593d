"""Words nearest to learnt context vectors: `python interpret_prompt.py FILE TOPK`, as in CoOp."""

import sys

from promptshift.cli.upstream.programs import interpret_prompt

if __name__ == "__main__":
    sys.exit(interpret_prompt(sys.argv[1:]))
