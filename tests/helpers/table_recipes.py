"""Every kind of table that is printed, of made-up accuracies: `tests/goldens/tables/` holds what they looked like.

`PYTHONPATH=.:tests python -m helpers.table_recipes` writes the files anew, from the made-up published rows there.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import pytest

from helpers.protocol_plans import configuration, plan_of
from helpers.report_trees import ART_AND_FRIENDS, write_grid, write_run
from helpers.result_records import make_record
from promptshift.report.runs import gather
from promptshift.report.sections import sections_of
from promptshift.results import papers
from promptshift.runs.published import expected_accuracy, published_lines

GOLDENS = Path(__file__).parents[1] / "goldens" / "tables"

# name -> protocol, trainer, words, further arguments of `plan_of`, parts of names of jobs that did not finish
PLANS = {
    "halves": ("base_to_new", "CoOp", ["eurosat"], dict(seeds=(1, 2, 3)), []),
    "halves of one seed": ("base_to_new", "CoOp", ["eurosat"], {}, []),
    "a half missing": ("base_to_new", "CoOp", ["eurosat"], dict(seeds=(2, 1)), ["new seed 2"]),
    "halves of several": ("base_to_new", "CoOp", ["dtd,eurosat"], dict(seeds=(1, 2, 3)), []),
    "one of several missing": ("base_to_new", "CoOp", ["dtd,eurosat"], dict(seeds=(1, 2)), ["EuroSAT base seed 1"]),
    "halves that nobody published": ("base_to_new", "CoOp", ["mini_b2n"], dict(seeds=(1, 2)), []),
    "halves of DPC": ("base_to_new", "DPC", ["eurosat"], {}, []),
    "halves without training": ("base_to_new", "ZeroshotCLIP", ["eurosat"], {}, []),
    "domains": ("multi_source", "CoOp", ["pacs", "RN50"], dict(seeds=(1, 2, 3)), []),
    "domains of the mini world": ("multi_source", "DPSPG", ["mini"], dict(seeds=(2, 1)), ["photo seed 1"]),
    "sources": ("single_source", "CoOp", ["pacs", "RN50"], dict(seeds=(1, 2)), []),
    "whole datasets": ("cross_dataset", "SPG", ["mini_domainnet"], dict(seeds=(1, 2)), ["VLCS seed 2"]),
    "whole datasets of the mini world": ("cross_dataset", "CoOp", ["mini"], {}, []),
    "transfer": ("xd", "CoOp", ["imagenet"], dict(seeds=(1, 2)), []),
    "transfer without training": ("xd", "ZeroshotCLIP", ["imagenet"], {}, []),
    "transfer to one": ("xd", "CoOp", ["imagenet"], dict(targets=("eurosat",)), []),
    "transfer from another source": ("xd", "CoOp", ["dtd"], dict(targets=("imagenet", "eurosat", "dtd")), []),
    "variants": ("imagenet_variants", "CoOp", ["imagenet"], {}, ["ImageNetA"]),
    "variants of the mini world": ("imagenet_variants", "CoOp", ["mini_b2n"], {}, []),
    "shots": ("few_shot", "CoOp", ["dtd", "RN50", "DATASET.NUM_SHOTS", "4"], dict(seeds=(1, 2)), []),
    "all images": ("few_shot", "CoOp", ["dtd"], {}, []),
    "a sweep": ("few_shot_sweep", "CoOp", ["dtd", "RN50"], dict(seeds=(1, 2)), ["seed 2 of 8"]),
    "a sweep without training": ("few_shot_sweep", "ZeroshotCLIP", ["dtd", "RN50"], {}, []),
    "zero shots": ("zero_shot", "ZeroshotCLIP", ["dtd", "RN50"], {}, []),
}


def accuracy(*words: object) -> float:
    """A number between 40 and 100 that depends on the words alone."""
    digest = hashlib.blake2b(" ".join(map(str, words)).encode(), digest_size=4).digest()
    return 40 + 60 * int.from_bytes(digest) / 2**32


def plan_text(name: str) -> str:
    """The table at the end of a plan, and what each of its runs says about published numbers."""
    protocol, trainer, words, more, missing = PLANS[name]
    plan = plan_of(protocol, trainer, *words, **more)
    records = {}
    for job in plan.jobs:
        if not any(part in job.name for part in missing):
            metrics = {key: accuracy(job.name, key) for key in ("accuracy", "accuracy_photo", "accuracy_sketch")}
            records[job.name] = make_record(metrics=metrics, selection="last_step", seed=job.seed or 0)
    table = plan.table(records)
    lines = [f"## {name}", table.markdown(), table.csv()]
    for job in plan.jobs:
        cfg, _ = configuration(job)
        said = [repr(expected_accuracy(cfg)), *published_lines(cfg, 70.0)]
        lines += [f"{job.name}: {' '.join(said)}"] if len(said) > 1 else []
    return "\n".join(lines) + "\n"


def report_text(folder: Path) -> str:
    """Every section of a report over runs of every protocol, as text."""
    _write_domains(folder)
    _write_halves(folder)
    _write_transfers(folder)
    _write_others(folder)
    parts = []
    for section in sections_of(gather([folder]).runs):
        about = (section.name, section.protocol, section.dataset, section.backbone, section.heading, section.about)
        parts += [f"## {' | '.join(about)}", f"columns: {' '.join(section.columns)}"]
        parts += [text for table in (section.table, section.tests) if table for text in (table.markdown(), table.csv())]
    return "\n".join(parts)


def _write_domains(folder: Path) -> None:
    for protocol in ("multi_source", "single_source"):
        for dataset in ("PACS", "MiniDG"):
            for trainer in ("CoOp", "VPT", "ZeroshotCLIP"):

                def number(target: str, seed: int, words: tuple = (protocol, dataset, trainer)) -> float:
                    return accuracy(*words, target, seed)

                place = folder / protocol / dataset
                write_grid(place, number, trainer, protocol=protocol, dataset=dataset, backbone="RN50")
    for target in ART_AND_FRIENDS:  # trained on one domain: the column
        for seed in (1, 2):
            place = folder / "single" / target / f"seed{seed}"
            write_run(place, accuracy(target, seed), "SPG", target, seed, source_domains=[target], dataset="PACS",
                      protocol="single_source")  # fmt: skip
    for seed in (1, 2, 3):
        write_run(folder / "more" / f"seed{seed}", accuracy("more", seed), seed=seed, options=["OPTIM.MAX_EPOCH", 3])
    write_run(folder / "oracle", 99.0, selection="oracle")
    write_run(folder / "third" / "seed3", 71.0, "VPT", seed=3)


def _write_halves(folder: Path) -> None:
    for dataset in ("EuroSAT", "DescribableTextures", "MiniB2N"):
        for trainer, seeds in (("CoOp", (1, 2, 3)), ("ZeroshotCLIP", (1,)), ("MaPLe", (1, 2))):
            for half in ("base", "new"):
                for seed in seeds:
                    if (dataset, trainer, half, seed) == ("EuroSAT", "MaPLe", "new", 2):
                        continue
                    if (dataset, trainer, half) == ("MiniB2N", "MaPLe", "base"):
                        continue
                    place = folder / "base2new" / dataset / trainer / half / f"seed{seed}"
                    _write_classes(place, "base_to_new", trainer, dataset, seed, half)


def _write_classes(
    place: Path, protocol: str, trainer: str, dataset: str, seed: int, classes: str = "all", shots: int = 16, **more
) -> None:
    options = ["DATASET.SUBSAMPLE_CLASSES", classes, "DATASET.NUM_SHOTS", shots]
    number = accuracy(protocol, dataset, trainer, classes, shots, seed)
    write_run(place, number, trainer, "", seed, options, protocol=protocol, dataset=dataset, classes=classes,
              shots=shots, source_domains=[], target_domains=[], **{"backbone": "ViT-B/16", **more})  # fmt: skip


def _write_transfers(folder: Path) -> None:
    for trainer in ("CoOp", "ZeroshotCLIP"):
        for seed in (1, 2):
            _write_classes(folder / "imagenet" / trainer / f"seed{seed}", "xd", trainer, "ImageNet", seed)
            for protocol, datasets in (
                ("xd", ("EuroSAT", "UCF101", "Caltech101")),
                ("imagenet_variants", ("ImageNetR", "ImageNetA", "ImageNetV2")),
            ):
                for dataset in datasets:
                    place = folder / "evaluation" / trainer / dataset / f"seed{seed}"
                    if (trainer, dataset, seed) != ("ZeroshotCLIP", "UCF101", 2):
                        _write_classes(place, protocol, trainer, dataset, seed)
    place = folder / "cross_dataset" / "SPG"
    for seed in (1, 2):
        common = dict(protocol="cross_dataset", backbone="ViT-B/16", seed=seed)
        write_run(place / "train" / f"seed{seed}", 60.0, "SPG", dataset="DomainNet", split="val", **common)
        for dataset in ("VLCS", "PACS"):
            write_run(place / dataset / f"seed{seed}", accuracy(dataset, seed), "SPG", dataset=dataset, **common)


def _write_others(folder: Path) -> None:
    few = dict(dataset="DescribableTextures", seed=1, backbone="RN50")
    for shots in (16, 1, 4):
        _write_classes(folder / "few" / str(shots), "few_shot", "CoOp", shots=shots, **few)
        _write_classes(folder / "sweep" / str(shots), "few_shot_sweep", "LinearProbe", shots=shots, **few)
    _write_classes(folder / "few" / "zero", "few_shot", "ZeroshotCLIP", shots=0, **few)
    for protocol in ("zero_shot", "ablation", "", "of_a_friend"):
        _write_classes(folder / f"other {protocol}", protocol, "ZeroshotCLIP", **few)
    write_run(folder / "hand", 50.0, protocol="", target="photo")
    write_run(folder / "friend", 51.0, protocol="of_a_friend", target="photo")
    write_run(folder / "study", 52.0, protocol="ablation", target="photo")
    for words in ("multi", "single", "base2new", "evaluation EuroSAT", "imagenet ImageNetR", "few"):
        place = folder.joinpath("logs", *words.split(), "seed1")
        place.mkdir(parents=True)
        name = words.split()[-1] if " " in words else "SPG_PACS" if words in ("multi", "single") else "EuroSAT"
        sources = {"multi": "['art_painting', 'cartoon', 'photo']", "single": "['photo']"}.get(words, "[]")
        targets = "['sketch']" if words in ("multi", "single") else "[]"
        (place / "log.txt").write_text(
            f"** Config **\nDATASET:\n  NAME: {name}\n  NUM_SHOTS: 16\n  SOURCE_DOMAINS: {sources}\n"
            f"  TARGET_DOMAINS: {targets}\n  SUBSAMPLE_CLASSES: {'base' if words == 'base2new' else 'all'}\n"
            "MODEL:\n  BACKBONE:\n    NAME: ViT-B/16\nSEED: 1\nTRAINER:\n  NAME: CoOp\n** System info **\n=> result\n"
            f"* accuracy: {accuracy(words):.1f}%\n"
        )


def use_made_up_papers(patch: pytest.MonkeyPatch) -> None:
    """Lets the published rows be those of the goldens."""
    patch.setattr(papers, "checkout", lambda: GOLDENS)


def main() -> None:
    """Writes the goldens."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        os.environ["OUTPUT"] = folder
        use_made_up_papers(patch)
        GOLDENS.joinpath("plans.txt").write_text("\n".join(map(plan_text, PLANS)), encoding="utf-8")
        GOLDENS.joinpath("report.txt").write_text(report_text(Path(folder, "runs")), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
