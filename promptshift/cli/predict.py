"""`promptshift predict --run FOLDER IMAGE...`: class probabilities of images from a trained run."""

from __future__ import annotations

from collections.abc import Sequence

from dassl.utils import read_image
from dassl.utils.errors import UserError
from promptshift.api import Run
from promptshift.cli.command import Parser, answer

_EPILOG = """\
One line per image: its path, a tab, and the likeliest classes with their probabilities, the likeliest first.
The run's folder is enough: neither the data set nor the data folder is needed.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the likeliest classes of images: 0 when done, 2 after bad input (one line on stderr)."""
    return answer(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    parser = Parser("promptshift predict", description=__doc__, epilog=_EPILOG)
    parser.add_argument("--run", required=True, metavar="FOLDER", help="output folder of a finished run")
    parser.add_argument("--topk", type=int, default=3, help="how many classes per image (default: 3)")
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    options = parser.parse_args(argv)
    if options.topk < 1:
        raise UserError(f"--topk: {options.topk}, allowed: 1 and more")
    for path in options.images:
        read_image(path)  # all of them are looked at before the first is answered
    run = Run(options.run, key="--run")
    for path, row in zip(options.images, run.each_probabilities(options.images)):
        top = row.topk(min(options.topk, len(row)))
        names = (f"{run.classnames[i]} {p:.4f}" for p, i in zip(top.values.tolist(), top.indices.tolist()))
        print(f"{path}\t{', '.join(names)}")
    return 0
