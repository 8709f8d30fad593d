"""`tpt_classification.py DIR --test_sets A/R/V/K ...`: TPT's own command line, in the words of `promptshift run`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dassl.utils.errors import UserError
from promptshift.cli.command import Parser, answer
from promptshift.cli.run import main as run

# flag -> the key that it sets
_KEYS = {
    "workers": "DATALOADER.NUM_WORKERS",
    "batch_size": "TRAINER.TPT.VIEWS",
    "lr": "TRAINER.TPT.LR",
    "print_freq": "TRAIN.PRINT_FREQ",
    "selection_p": "TRAINER.TPT.TPT_THRESHOLD",
    "tta_steps": "TRAINER.TPT.TTA_STEPS",
    "n_ctx": "TRAINER.TPT.N_CTX",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Test each of the test sets: 0 when done, 1 after a failed run, 2 after bad input (one line on stderr)."""
    return answer(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    options, more = _parser().parse_known_args(argv)
    words = _words(options, more)
    os.environ["DATA"] = options.data
    if options.gpu is not None:
        os.environ.setdefault("GPUS", options.gpu)
    return run(words)


def _parser() -> Parser:
    """Return the flags of TPT's tpt_classification.py; KEY VALUE words may follow them."""
    parser = Parser("tpt_classification.py", description=__doc__)
    parser.add_argument("data", metavar="DIR", help="folder with the datasets, as DATA")
    parser.add_argument("--test_sets", default="A/R/V/K/I", help="with / between them: A R V K I, Flower102, DTD ...")
    parser.add_argument("--dataset_mode", default="test", help="only test")
    parser.add_argument("-a", "--arch", default="RN50", help="the backbone, as MODEL.BACKBONE.NAME")
    parser.add_argument("--resolution", default="224", help="sets INPUT.SIZE")
    for name, *others in (
        ("workers", "-j"),
        ("batch_size", "-b", "--batch-size"),
        ("lr", "--learning-rate"),
        ("print_freq", "-p", "--print-freq"),
        ("selection_p",),
        ("tta_steps",),
        ("n_ctx",),
    ):
        parser.add_argument(f"--{name}", *others, dest=name, help=f"sets {_KEYS[name]}")
    parser.add_argument("--gpu", help="the GPU to use, as GPUS")
    parser.add_argument("--tpt", action="store_true", help="adapt; without it the prompts are tested as they are")
    parser.add_argument("--ctx_init", help="words to start from, with _ between them")
    parser.add_argument("--cocoop", action="store_true", help="start from a run of CoCoOp; needs --load, or trains one")
    parser.add_argument("--load", help="FOLDER/prompt_learner/FILE of a run of CoOp or CoCoOp to start from")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--dry-run", action="store_true", help="show commands and states, run nothing")
    return parser


def _words(options, more: Sequence[str]) -> list[str]:
    """Return the command line of `promptshift run`.

    Raises:
        UserError: another split than test, or weights that are no run's.
    """
    if options.dataset_mode != "test":
        raise UserError(f"--dataset_mode {options.dataset_mode}, allowed: test (numbers on what trained are none)")
    pairs = [(key, getattr(options, flag)) for flag, key in _KEYS.items() if getattr(options, flag) is not None]
    if options.ctx_init:
        pairs.append(("TRAINER.TPT.CTX_INIT", options.ctx_init.replace("_", " ")))
    if options.resolution != "224":
        pairs.append(("INPUT.SIZE", f"({options.resolution}, {options.resolution})"))
    if not options.tpt:
        pairs.append(("TRAINER.TPT.LR", "0"))  # a step of length 0: the prompts as they are
    if options.cocoop or options.load:
        pairs.append(("TRAINER.TPT.PROMPT", "CoCoOp" if options.cocoop else "CoOp"))
    words = ["--as", "tpt", "TPT", options.test_sets, options.arch, *(word for pair in pairs for word in pair), *more]
    words += ["--model-dir", str(_run_of(options.load))] if options.load else []
    return [*words, *(["--dry-run"] if options.dry_run else []), "--seeds", options.seed]


def _run_of(path: str) -> Path:
    """Return the folder of the run that a checkpoint belongs to."""
    file = Path(path).expanduser().resolve()
    if not file.is_file() or file.parent.name != "prompt_learner":
        raise UserError(f"--load {path}: expected a file FOLDER/prompt_learner/model.pth.tar-<epoch> of CoOp or CoCoOp")
    return file.parents[1]
