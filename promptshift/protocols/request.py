"""What was asked for, resolved to configuration files, folders and configuration hashes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yacs.config import CfgNode

from dassl.utils.errors import UserError
from promptshift.launch.jobs import Call, Job
from promptshift.paths import data_root, load_plugins, output_root
from promptshift.protocols.config_files import ALL, ALL_DATASETS, dataset_file, split_words, trainer_file

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
        also: the same request for further datasets.
        targets: names of configs/datasets to test on instead of the protocol's own.
        weights: folder with `seed<K>` folders of weights trained elsewhere, evaluated instead of training; "" trains.
        said: keys that the words set by their place (BACKBONE) or the command by itself; folders do not name them.
        of_files: what the configuration files of its jobs made, so that each is read once.
    """

    protocol: str
    trainer: str
    dataset_file: Path
    config_file: Path
    options: tuple[str, ...]
    seeds: tuple[int, ...]
    also: tuple[Request, ...] = ()
    targets: tuple[str, ...] = ()
    weights: str = ""
    said: tuple[str, ...] = ()
    of_files: dict = dataclasses.field(default_factory=dict, compare=False, repr=False)

    @functools.cached_property
    def cfg(self) -> CfgNode:
        """The frozen configuration that all jobs share (seed, domains and folder aside).

        Raises:
            UserError: `train.py` would refuse it.
        """
        return self.configuration(self.call())

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
    def method_key(self) -> str:
        """The key that `method` names."""
        from dassl.engine import TRAINER_REGISTRY

        return f"TRAINER.{getattr(TRAINER_REGISTRY.get(self.trainer), 'BLOCK', '')}.BACKBONE"

    @property
    def backbone(self) -> str:
        """MODEL.BACKBONE.NAME."""
        return self.cfg.MODEL.BACKBONE.NAME

    def stem(self, *named: str) -> str:
        """The configuration file's name; behind it what KEY VALUE words change of it, e.g. "default,OPTIM.LR=0.1".

        Args:
            named: keys that the rest of the folder names.
        """
        from promptshift.runs.variants import variant

        def configured(options: tuple[str, ...]) -> CfgNode:
            return dataclasses.replace(self, options=options).cfg

        return self.config_file.stem + variant(self.options, {*named, *self.said}, configured)

    @property
    def folder(self) -> Path:
        """`<OUTPUT>/<PROTOCOL>/<TRAINER>/<DATASET>/<CFG>/<BACKBONE>`, where the protocols over domains write."""
        place = self.root / self.protocol / self.trainer / self.dataset
        return place / self.stem("MODEL.BACKBONE.NAME") / self.backbone.replace("/", "")

    @property
    def root(self) -> Path:
        """`<OUTPUT>`, or `<OUTPUT>/reproduce` for weights trained elsewhere: their results stay apart."""
        return output_root() / "reproduce" if self.weights else output_root()

    def with_options(self, *options: str) -> Request:
        """Returns the request with further KEY VALUE words, which win, for its own dataset alone."""
        return dataclasses.replace(self, options=(*self.options, *options), also=())

    def saying(self, keys: Sequence[str]) -> Request:
        """Returns the request, with all its datasets, of a command that sets some keys itself; see `said`."""
        also = tuple(part.saying(keys) for part in self.also)
        return dataclasses.replace(self, said=(*self.said, *keys), also=also)

    def of_trainer(self, trainer: str, config_file: Path) -> Request:
        """Returns the same request for another trainer; its weights are to be trained."""
        return dataclasses.replace(self, trainer=trainer, config_file=config_file, also=(), targets=(), weights="")

    def call(
        self, output_dir: Path | None = None, seed: int | None = None, options: Sequence[str] = (), **more: object
    ) -> Call:
        """Returns what `train.py` is called with; `options` win over the request's own, `more` is as in `Call`."""
        return Call(
            data_root(),
            self.trainer,
            self.dataset_file,
            self.config_file,
            output_dir,
            seed,
            options=(*self.options, *options),
            **more,
        )

    def configuration(self, call: Call) -> CfgNode:
        """Returns the frozen configuration that a call stands for; the files of all calls are read once.

        Raises:
            UserError: `train.py` would refuse the call.
        """
        from promptshift.runs.config import build_cfg

        return build_cfg(list(call.argv), self.of_files)[0]

    def job(
        self,
        name: str,
        output_dir: Path,
        cell: tuple[str, str],
        seed: int | None,
        options: Sequence[str] = (),
        *,
        sources: Sequence[str] = (),
        targets: Sequence[str] = (),
        eval_only: bool = False,
        model_dir: Path | None = None,
        after: Sequence[str] = (),
        always: bool = False,
    ) -> Job:
        """Returns the job that runs this request with a seed.

        Args:
            name, cell, after, always: as in `Job`.
            output_dir, seed, sources, targets, eval_only, model_dir: as in `Call`.
            options: KEY VALUE words that win over the request's own.

        Raises:
            UserError: `train.py` would refuse the command line.
        """
        call = self.call(
            output_dir,
            seed,
            [*options, *(("TEST.WEIGHTS", self.weights) if self.weights and eval_only else ())],
            sources=tuple(sources),
            targets=tuple(targets),
            eval_only=eval_only,
            model_dir=model_dir,
        )
        return Job(name, call, cell, self.configuration(call), tuple(after), always)


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
    of_files: dict = {}
    parts = [
        Request(
            protocol,
            trainer,
            path,
            trainer_file(trainer, path.stem, config, fallback),
            options,
            tuple(seeds),
            targets=tuple(targets),
            weights=weights,
            said=("MODEL.BACKBONE.NAME",) if backbone else (),
            of_files=of_files,
        )
        for path in dict.fromkeys(files)
    ]
    for part in parts:
        _ = part.cfg  # refuses what `train.py` would refuse
    return dataclasses.replace(parts[0], also=tuple(parts[1:])) if len(parts) > 1 else parts[0]


def refuse_keys(options: Sequence[str], taken: Mapping[str, str]) -> None:
    """Raises a UserError for the first key in `options` that the protocol sets itself; `taken` maps key to advice."""
    for key, value in zip(options[::2], options[1::2], strict=True):
        if key in taken:
            raise UserError(f"{key} {value}: the protocol sets this key itself; use {taken[key]} instead")
