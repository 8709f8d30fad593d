"""What was asked for, resolved to configuration files, folders and configuration hashes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yacs.config import CfgNode

from dassl.utils.errors import UserError, suggest
from promptshift.launch.jobs import Job
from promptshift.paths import checkout, data_root, load_plugins, output_root, trainer_config_file, yaml_names

if TYPE_CHECKING:
    from datasets._facts import DomainSet
    from datasets._image_facts import ImageSet

# Keys that a protocol fills in itself, with the place where a user says it instead.
_TAKEN = {
    "SEED": "--seeds or SEEDS",
    "OUTPUT_DIR": "the environment variable OUTPUT",
    "DATASET.ROOT": "the environment variable DATA",
    "DATASET.NAME": "the argument DATASET",
    "TRAINER.NAME": "the argument TRAINER",
    "PROTOCOL": "the argument PROTOCOL",
}
ALL = "all"  # as DATASET: the eleven datasets of CoOp's tables (arXiv 2109.01134), in their order
ALL_DATASETS = (
    "imagenet",
    "caltech101",
    "oxford_pets",
    "stanford_cars",
    "oxford_flowers",
    "food101",
    "fgvc_aircraft",
    "sun397",
    "dtd",
    "eurosat",
    "ucf101",
)
# Further keys of the protocols that choose the domains.
TAKEN_DOMAINS = dict.fromkeys(
    ("DATASET.SOURCE_DOMAINS", "DATASET.TARGET_DOMAINS"), "train.py (the protocol goes through the domains)"
)


@dataclasses.dataclass(frozen=True)
class Request:
    """One resolved request; `resolve` makes it.

    Attributes:
        protocol: name of the protocol.
        trainer: the trainer's own name (aliases resolved).
        dataset_file: YAML of the dataset.
        config_file: YAML of the trainer.
        options: trailing KEY VALUE words for `train.py`, backbone and protocol included.
        seeds: seeds to run, at least one.
        cfg: the frozen configuration that all jobs share (seed, domains and folder aside).
        also: the same request for further datasets.
        targets: names of configs/datasets to test on instead of the protocol's own.
        weights: folder with `seed<K>` folders of weights trained elsewhere, evaluated instead of training; "" trains.
    """

    protocol: str
    trainer: str
    dataset_file: Path
    config_file: Path
    options: tuple[str, ...]
    seeds: tuple[int, ...]
    cfg: CfgNode
    also: tuple[Request, ...] = ()
    targets: tuple[str, ...] = ()
    weights: str = ""

    @property
    def datasets(self) -> tuple[Request, ...]:
        """This request for every dataset that was asked for, one at a time."""
        return dataclasses.replace(self, also=()), *self.also

    @functools.cached_property
    def facts(self) -> DomainSet | ImageSet | None:
        """Facts of the dataset, None for one that somebody else registered.

        Raises:
            UserError: DATASET.FOLDER is not a folder of images.
        """
        from dassl.data.datasets import DATASET_REGISTRY

        dataset = DATASET_REGISTRY.get(self.cfg.DATASET.NAME)
        return dataset.facts_for(self.cfg.DATASET) if hasattr(dataset, "facts_for") else None

    @property
    def domains(self) -> tuple[str, ...]:
        """The sorted full domain names of the dataset.

        Raises:
            UserError: the dataset is not one of several domains.
        """
        if self.facts is None or len(self.facts.domains) < 2:
            raise UserError(
                f"{self.protocol} needs a dataset with several domains; {self.dataset!r} has "
                f"{'one' if self.facts and self.facts.domains else 'none'}"
            )
        return self.facts.domains

    @property
    def dataset(self) -> str:
        """The dataset's own name (aliases resolved)."""
        return self.facts.name if self.facts else self.cfg.DATASET.NAME

    @property
    def method(self) -> str:
        """The trainer's name, after it that of the method it builds on where its own block has a key BACKBONE."""
        from promptshift.runs.published import method_name

        return method_name(self.cfg, self.trainer)

    @property
    def backbone(self) -> str:
        """MODEL.BACKBONE.NAME."""
        return self.cfg.MODEL.BACKBONE.NAME

    @property
    def folder(self) -> Path:
        """`<OUTPUT>/<PROTOCOL>/<TRAINER>/<DATASET>/<CFG>/<BACKBONE>`, where the protocols over domains write."""
        place = output_root() / self.protocol / self.trainer / self.dataset
        return place / self.config_file.stem / self.backbone.replace("/", "")

    @property
    def root(self) -> Path:
        """`<OUTPUT>`, or `<OUTPUT>/reproduce` for weights trained elsewhere: their results stay apart."""
        return output_root() / "reproduce" if self.weights else output_root()

    def with_options(self, *options: str) -> Request:
        """Returns the request with further KEY VALUE words, which win."""
        return _built(
            self.protocol,
            self.trainer,
            self.dataset_file,
            self.config_file,
            (*self.options, *options),
            self.seeds,
            targets=self.targets,
            weights=self.weights,
        )

    def of_trainer(self, trainer: str, config_file: Path) -> Request:
        """Returns the same request for another trainer; its weights are to be trained."""
        return _built(self.protocol, trainer, self.dataset_file, config_file, self.options, self.seeds)

    def job(
        self,
        name: str,
        output_dir: Path,
        cell: tuple[str, str],
        seed: int | None,
        flags: Sequence[str] = (),
        options: Sequence[str] = (),
        after: Sequence[str] = (),
        always: bool = False,
    ) -> Job:
        """Returns the job that runs this request with a seed.

        Args:
            name, output_dir, cell, after, always: as in `Job`.
            seed: None for no --seed flag.
            flags: further flags of `train.py`.
            options: KEY VALUE words that win over the request's own.

        Raises:
            UserError: `train.py` would refuse the command line.
        """
        from promptshift.runs.config import build_cfg, config_hash

        argv = [*_common_flags(self.trainer, self.dataset_file, self.config_file)]
        argv += ["--seed", str(seed)] if seed is not None else []
        argv += [*flags, "--output-dir", str(output_dir), *self.options, *options]
        return Job(name, tuple(argv), output_dir, cell, seed, config_hash(build_cfg(argv)[0]), tuple(after), always)


def resolve(
    protocol: str,
    trainer: str,
    words: Sequence[str],
    seeds: Sequence[int],
    config: str = "",
    fallback: str = "default",
    targets: Sequence[str] = (),
    weights: str = "",
) -> Request:
    """Turns the words of a command line into a request.

    Args:
        protocol: name of the protocol, for the record.
        trainer: registered trainer name or alias.
        words: DATASET [BACKBONE] [KEY VALUE ...]; DATASET may be several names with commas between them, or `ALL`.
        seeds: seeds to run.
        config: name of the trainer's configuration file, or TRAINER/NAME for another trainer's; chosen by
            `trainer_file` when empty.
        fallback: configuration file of datasets that have none of their own.
        targets, weights: as in `Request`.

    Raises:
        UserError: an unknown trainer, dataset, backbone, key, value or configuration file.
    """
    from dassl.engine import TRAINER_REGISTRY

    dataset, backbone, options = split_words(words)
    refuse_keys(options, _TAKEN)
    files = [dataset_file(name) for name in (ALL_DATASETS if dataset == ALL else dataset.split(","))]
    load_plugins()
    trainer = TRAINER_REGISTRY.get(trainer).__name__
    options = (*(("MODEL.BACKBONE.NAME", backbone) if backbone else ()), "PROTOCOL", protocol, *options)
    for name in targets:
        dataset_file(name)
    first, *others = [
        _built(
            protocol,
            trainer,
            path,
            trainer_file(trainer, path.stem, config, fallback),
            options,
            seeds,
            targets=tuple(targets),
            weights=weights,
        )
        for path in dict.fromkeys(files)
    ]
    return dataclasses.replace(first, also=tuple(others))


def _built(
    protocol: str,
    trainer: str,
    dataset_path: Path,
    config_path: Path,
    options: Sequence[str],
    seeds: Sequence[int],
    **more: tuple[str, ...] | str,
) -> Request:
    """Returns the request whose configuration the files and options make."""
    from promptshift.runs.config import build_cfg

    cfg, _ = build_cfg([*_common_flags(trainer, dataset_path, config_path), *options])
    return Request(protocol, trainer, dataset_path, config_path, tuple(options), tuple(seeds), cfg, **more)


def split_words(words: Sequence[str]) -> tuple[str, str, tuple[str, ...]]:
    """Splits DATASET [BACKBONE] [KEY VALUE ...]: an odd number of words after DATASET begins with the backbone.

    Returns:
        (dataset, backbone or "", key and value words).

    Raises:
        UserError: there is no dataset.
    """
    if not words:
        raise UserError(f"DATASET is missing, allowed: {', '.join(yaml_names(checkout() / 'configs' / 'datasets'))}")
    dataset, *rest = words
    backbone = rest.pop(0) if len(rest) % 2 else ""
    return dataset, backbone, tuple(rest)


def refuse_keys(options: Sequence[str], taken: Mapping[str, str]) -> None:
    """Raises a UserError for the first key in `options` that the protocol sets itself; `taken` maps key to advice."""
    for key, value in zip(options[::2], options[1::2], strict=True):
        if key in taken:
            raise UserError(f"{key} {value}: the protocol sets this key itself; use {taken[key]} instead")


def dataset_file(dataset: str) -> Path:
    """Returns `configs/datasets/<dataset>.yaml`, the name in any case; "multi_source/pacs" is a name too.

    Raises:
        UserError: there is no such file; the line lists those that exist.
    """
    folder = checkout() / "configs" / "datasets"
    known = yaml_names(folder)
    for name in (dataset, dataset.lower()):
        if name in known:
            return folder / f"{name}.yaml"
    allowed = ", ".join(known) + suggest(dataset, known)
    raise UserError(f"DATASET {dataset!r}: no such file in {folder}, allowed: {allowed}")


def trainer_file(trainer: str, dataset: str, config: str = "", fallback: str = "default") -> Path:
    """Returns the trainer's YAML for a dataset.

    `configs/trainers/<trainer>/<config>.yaml` when a name is given; otherwise `<dataset>.yaml`, `mini.yaml`
    for datasets of the embedded world, `<fallback>.yaml`, whichever exists first.

    Raises:
        UserError: none of them exists; the line lists what does.
    """
    owner, _, config = config.rpartition("/")
    world = ("mini",) if is_mini_world(dataset) else ()
    return trainer_config_file(owner or trainer, (config,) if config else (dataset, *world, fallback))


def known_facts(dataset: str) -> DomainSet | ImageSet | None:
    """Returns the facts of a dataset (any of its names), None for one that is in no table."""
    from datasets._image_facts import find_facts

    try:
        return find_facts(dataset)
    except UserError:
        return None


def is_mini_world(dataset: str) -> bool:
    """Returns whether the images of a dataset (any of its names) are drawn by `promptshift.mini`."""
    facts = known_facts(dataset)
    return facts is not None and facts.rendered


def _common_flags(trainer: str, dataset_path: Path, config_path: Path) -> tuple[str, ...]:
    """Returns the flags that every job of a request shares."""
    return (
        "--root",
        str(data_root()),
        "--trainer",
        trainer,
        "--dataset-config-file",
        str(dataset_path),
        "--config-file",
        str(config_path),
    )
