"""`promptshift prototypes --run FOLDER`: what PromptAlign and PromptSync compare test images with.

Means and variances of the tokens of source images, and class prototypes, under the prompts of a finished run of MaPLe.
Source images are the ones that the run learnt from, unless a dataset file or KEY VALUE pairs say otherwise.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from dassl.config import merge_file, merge_opts
from dassl.data.datasets import DATASET_REGISTRY
from dassl.utils.errors import UserError
from promptshift.adapting.source_prototypes import kept_prototypes, source_configuration
from promptshift.cli.command import Parser, answer
from promptshift.modeling.multimodal import CoupledPrompts
from promptshift.modeling.prototypes import load_prototypes
from promptshift.paths import data_root
from promptshift.runs.reopen import reopen

_EPILOG = r"""The file is written below the output root and, with --out, where you say; name it in
TRAINER.PROMPTSYNC.PROTOTYPES or TRAINER.PROMPTALIGN.PROTOTYPES. Runs that name none make their own, from the run that
they start from.
--show FILE prints what made a file.

  promptshift prototypes --run output/imagenet/MaPLe/.../seed1 --shots 16 --out prototypes.safetensors
  promptshift prototypes --run RUN --dataset-config-file configs/datasets/pacs.yaml \
      DATASET.SOURCE_DOMAINS "['photo']"
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Makes or shows a file of prototypes: 0 when done, 2 after bad input (one line on stderr)."""
    return answer(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    parser = Parser("promptshift prototypes", description=__doc__, epilog=_EPILOG)
    parser.add_argument("--run", metavar="FOLDER", help="output folder of a finished run of MaPLe")
    parser.add_argument("--out", metavar="FILE", help="also write the file here (.safetensors)")
    parser.add_argument("--views", type=int, default=4, help="random views of each image beside the clean one (4)")
    parser.add_argument("--shots", type=int, default=0, help="images per class, 0 for all of them (0)")
    parser.add_argument("--root", default="", help="data folder (default: $DATA)")
    parser.add_argument("--dataset-config-file", default="", metavar="YAML", help="another dataset than the run's")
    parser.add_argument("--show", metavar="FILE", help="print what made a file, and nothing else")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="changes to its configuration")
    options = parser.parse_args(argv)
    if options.show:
        _show(options.show)
        return 0
    _make(options)
    return 0


def _show(path: str) -> None:
    prototypes = load_prototypes(path)
    print(json.dumps(prototypes.about, indent=4))
    for name, tensor in prototypes.tensors.items():
        print(f"{name}: {tuple(tensor.shape)}")


def _make(options: argparse.Namespace) -> None:
    if not options.run:
        raise UserError("command line: --run FOLDER or --show FILE is needed; --help shows the usage")
    if options.views < 0:
        raise UserError(f"--views: {options.views}; allowed: 0 and more")
    trainer = reopen(options.run, key="--run")
    if not isinstance(getattr(trainer, "prompt_learner", None), CoupledPrompts):
        raise UserError(
            f"--run {options.run}: a run of {trainer.cfg.TRAINER.NAME}, whose prompts are not those of "
            "both towers; allowed: runs of MaPLe"
        )
    source = source_configuration(Path(options.run), options.root or str(data_root()))
    if options.dataset_config_file:
        merge_file(source, options.dataset_config_file)
    merge_opts(source, options.opts, source="command line")
    DATASET_REGISTRY.get(source.DATASET.NAME)
    prototypes, path = kept_prototypes(trainer, source, options.views, options.shots)
    if options.out:
        prototypes.save(Path(options.out))
    print(f"{prototypes.about['images']} images, {len(prototypes.about['classes'])} classes: {options.out or path}")
