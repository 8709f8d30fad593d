"""`promptshift data`: which data sets there are, whether one is complete, and getting one.

    list                     all data sets and which of them are below the data folder
    check DATASET [--deep]   images per domain and class against the known totals; --deep also decodes every image
    prepare DATASET          downloads or renders what is missing, makes the splits, then checks

DATASET is a name of configs/datasets, a folder of your own among them. The data folder is $DATA, or data/ of the
checkout; --root names another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate
from yacs.config import CfgNode

from dassl.config import get_cfg_default, merge_file
from dassl.utils.errors import UserError
from promptshift.cli.command import Parser, answer
from promptshift.paths import data_root, load_plugins
from promptshift.protocols.config_files import dataset_file
from promptshift.runs.config import extend_cfg


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one sub-command: 0 when all is well, 1 when a data set has problems, 2 after bad input (one line)."""
    return answer(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    parser = Parser("promptshift data", description=__doc__)
    parser.add_argument("command", choices=("list", "check", "prepare"))
    parser.add_argument("dataset", nargs="?", default="", metavar="DATASET")
    parser.add_argument("--deep", action="store_true", help="check: decode every image")
    parser.add_argument("--root", default="", help="the data folder (default: $DATA)")
    options = parser.parse_args(argv)
    root = options.root or str(data_root())
    load_plugins("datasets")
    if options.command == "list":
        print(_list(root))
        return 0
    if not options.dataset:
        raise UserError(f"command line: {options.command} takes a DATASET; --help shows the usage")
    return _report(options.command, _block(options.dataset), root, options.deep)


def _report(command: str, block: CfgNode, root: str, deep: bool) -> int:
    """Prints the report about a data set; 0 when it has no problems, 1 when it has."""
    from datasets._check import check_dataset, format_report, prepare_dataset

    folder = block.FOLDER if block.NAME == "FolderDG" else ""
    if command == "prepare" and not folder:  # nothing is to be had for a folder of one's own
        prepare_dataset(block.NAME, root)
    report = check_dataset(block.NAME, root, deep, folder)
    print(format_report(report))
    return 0 if report.ok else 1


def _block(dataset: str) -> CfgNode:
    """The DATASET block of a name of configs/datasets, or of a registered name."""
    from dassl.data.datasets import DATASET_REGISTRY

    cfg = get_cfg_default()
    extend_cfg(cfg)
    if dataset in DATASET_REGISTRY.registered_names():
        cfg.DATASET.NAME = dataset
    else:
        merge_file(cfg, str(dataset_file(dataset)))
    return cfg.DATASET


def _list(root: str) -> str:
    """A line per known data set: name, domains, classes, images, and where it is."""
    from datasets._facts import DOMAIN_SETS
    from datasets._image_facts import IMAGE_SETS
    from datasets._layout import find_folder, find_place

    places = {facts.name: place.image_dir for facts in DOMAIN_SETS.values() if (place := find_place(facts, root))}
    places |= {facts.name: find_folder(Path(root, facts.folder), facts.images) for facts in IMAGE_SETS.values()}
    rows = []
    for facts in (*DOMAIN_SETS.values(), *IMAGE_SETS.values()):
        images = None if None in facts.totals.values() else f"{sum(facts.totals.values()):,}"
        where = str(places.get(facts.name) or ("rendered when needed" if facts.rendered else "not there"))
        rows.append((facts.name, ", ".join(facts.domains), facts.n_classes, images or "", where))
    return tabulate(rows, ("data set", "domains", "classes", "images", f"below {root}"), disable_numparse=True)
