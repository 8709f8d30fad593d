"""What CoOp has beside train.py, under its names: interpret_prompt.py, draw_curves.py, lpclip/linear_probe.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dassl.utils.errors import UserError
from promptshift.api import datasets
from promptshift.cli.command import Parser, answer
from promptshift.cli.report import main as report
from promptshift.cli.run import main as run
from promptshift.cli.study import main as study
from promptshift.protocols.config_files import known_facts
from promptshift.runs.config import flatten
from promptshift.runs.stored_config import read_config


def interpret_prompt(argv: Sequence[str] | None = None) -> int:
    """Print the words nearest to each context vector of a checkpoint: FILE TOPK, as in CoOp."""
    return answer(_interpret_prompt, argv)


def _interpret_prompt(argv: Sequence[str] | None) -> int:
    parser = Parser("interpret_prompt.py", description="Words nearest to the context vectors in a checkpoint.")
    parser.add_argument("fpath", help="FOLDER/prompt_learner/model.pth.tar-<epoch>")
    parser.add_argument("topk", type=int, help="how many words of each vector")
    parser.add_argument("--backbone", default="", help="default: that of FOLDER/config.yaml, RN50 where there is none")
    options = parser.parse_args(argv)
    if options.topk < 1:
        raise UserError(f"topk: {options.topk}, allowed: whole numbers of at least 1")
    from dassl.utils import load_checkpoint
    from promptshift.modeling.clip import load_clip
    from promptshift.studies.checks.inspection import nearest_words

    file = Path(options.fpath).expanduser()
    state = load_checkpoint(file)["state_dict"]
    if "ctx" not in state:
        raise UserError(f"{file} has no context vectors (ctx); it has {', '.join(sorted(state))}")
    backbone = options.backbone or _backbone(file)
    clip, contexts = load_clip(backbone), state["ctx"].float().flatten(0, -2)  # with CSC, one class after another
    if contexts.shape[1] != clip.text_width:
        raise UserError(
            f"{file}: context vectors of width {contexts.shape[1]} are none of {backbone} ({clip.text_width}); "
            "give --backbone"
        )
    for place, found in enumerate(nearest_words(clip, contexts, options.topk), start=1):
        print(f"{place}: {[word for word, _ in found]} {[f'{distance:.4f}' for _, distance in found]}")
    return 0


def _backbone(file: Path) -> str:
    """Return the backbone of the run that a checkpoint belongs to, CoOp's RN50 where that is not known."""
    written = file.resolve().parents[1] / "config.yaml"
    return flatten(read_config(written))["MODEL.BACKBONE.NAME"] if written.is_file() else "RN50"


def draw_curves(argv: Sequence[str]) -> int:
    """Draw few-shot curves: of DATASET [BACKBONE] [KEY VALUE ...], run where missing; without words of what has run."""
    return study(["few_shot_curves", *argv]) if argv else report([])


def linear_probe(argv: Sequence[str] | None = None) -> int:
    """Fit a linear probe for 1, 2, 4, 8 and 16 images a class: --dataset NAME --num_run R, as in CoOp's lpclip."""
    return answer(_linear_probe, argv)


def _linear_probe(argv: Sequence[str] | None) -> int:
    parser = Parser("lpclip/linear_probe.py", description="Linear probes of CLIP for 1 to 16 images of each class.")
    parser.add_argument("--dataset", required=True, help="in any spelling, e.g. OxfordPets or oxford_pets")
    parser.add_argument("--num_run", type=int, default=10, help="seeds 1 to this number")
    parser.add_argument("--num_step", type=int, help="accepted; C is 0.316, as CLIP's paper gives it, and not searched")
    parser.add_argument("--feature_dir", help="accepted; a run extracts and keeps the features that it needs")
    parser.add_argument("--backbone", default="RN50")
    parser.add_argument("--dry-run", action="store_true", help="show commands and states, run nothing")
    options = parser.parse_args(argv)
    if options.num_run < 1:
        raise UserError(f"--num_run: {options.num_run}, allowed: whole numbers of at least 1")
    backbone = [] if getattr(known_facts(options.dataset), "rendered", False) else [options.backbone]
    words = ["few_shot_sweep", "LinearProbe", _config_name(options.dataset), *backbone]
    seeds = [str(seed) for seed in range(1, options.num_run + 1)]
    return run([*words, *(["--dry-run"] if options.dry_run else []), "--seeds", *seeds])


def _config_name(dataset: str) -> str:
    """Return the name of configs/datasets of a dataset in any spelling."""
    facts = known_facts(dataset)
    return next((name for name in datasets() if facts is not None and known_facts(name) == facts), dataset)
