"""Stages: runs that another run starts from (labels of a domain, a backbone, a teacher), made once and kept.

A trainer declares them as data, `stages(cfg)`. A stage is an ordinary run of a registered trainer; `stage_runs` finds
or makes it, for one run and for the jobs of a protocol alike.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from yacs.config import CfgNode as CN

from dassl.config import get_cfg_default, merge_file, merge_opts
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.yaml_reader import read_yaml
from promptshift.modeling.backbones.embedded import EMBEDDED
from promptshift.paths import checkout, trainer_config_file
from promptshift.runs.config import extend_cfg, stage_hash
from promptshift.runs.options import complete

EACH, TOGETHER = "each source domain", "all source domains"  # for Stage.domains, where no names are given


@dataclasses.dataclass(frozen=True)
class Stage:
    """A run that another run starts from, as the trainer that needs it declares it.

    Attributes:
        name: what `train.py --stage` calls it; unique within the trainer that declares it, without a slash.
        trainer: registered name of the trainer that makes it.
        what: what it makes, for the log.
        config: its YAML, a file of `configs/trainers/<trainer>/` without its suffix; "" for the one that
            `trainer_file` finds; None where it has none and is the needing run's own configuration, changed.
        changes: KEY VALUE pairs of its configuration, over the YAML's.
        opts: further pairs, the user's, which have the last word.
        domains: the domains that it trains on and selects by; EACH for a stage of its own for each source domain,
            TOGETHER for one of all of them; () for what the dataset of the needing run gives.
        parts: sets of the dataset, "train" and "val", whose images name the data that the stage is made from.
        images_of: KEY VALUE pairs of the dataset that has these images, over those of the needing run.
        takes: what is read of it, `<registered model>/<tensor>`; () for all that it learnt.
        place: folder below the output root.
        run: folder or checkpoint that the user names instead of a stage, "" for none.
        key: dotted key that names it.
        epoch: epoch whose weights are taken, 0 for the one that the run tested.
        same: keys that a named run must have alike; () to take it unchecked.
    """

    name: str
    trainer: str
    what: str
    config: str | None = ""
    changes: Sequence = ()
    opts: Sequence = ()
    domains: Sequence[str] | str = ()
    parts: Sequence[str] = ("train", "val")
    images_of: Sequence = ()
    takes: Sequence[str] = ()
    place: str = "stages"
    run: str = ""
    key: str = ""
    epoch: int = 0
    same: Sequence[str] = ()

    def on(self, domains: Sequence[str]) -> Stage:
        """Return the stage of some domains, for one that is declared for EACH or all TOGETHER."""
        name, what = f"{self.name}:{'+'.join(domains)}", f"{self.what} of {', '.join(domains)}"
        return dataclasses.replace(self, name=name, what=what, domains=tuple(domains))


def declared(cfg: CN) -> tuple[Stage, ...]:
    """Return what the trainer of a configuration declares to start from; () for nothing."""
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    return tuple(trainer.stages(cfg)) if hasattr(trainer, "stages") else ()


def needed(cfg: CN) -> list[Stage]:
    """Return the stages that a run of `cfg` finds or makes: no named runs, one for each domain where that is declared.

    Raises:
        UserError: the dataset does not have the domains that the configuration names.
    """
    found = []
    for stage in declared(cfg):
        if isinstance(stage.domains, str):
            names = _source_domains(cfg)
            found += [stage.on(part) for part in ([[name] for name in names] if stage.domains == EACH else [names])]
        elif not stage.run:
            found.append(stage)
    return found


def _source_domains(cfg: CN) -> list[str]:
    """Full names of the source domains, in the dataset's order where the dataset is known."""
    from datasets.domain_sets import choose_domains

    options, dataset = cfg.DATASET, DATASET_REGISTRY.get(cfg.DATASET.NAME)
    facts = dataset.facts_for(options) if hasattr(dataset, "facts_for") else None
    if facts is None or not facts.domains:
        return list(options.SOURCE_DOMAINS)
    sources, _ = choose_domains(facts, options.NAME, options.SOURCE_DOMAINS, options.TARGET_DOMAINS)
    return sorted(sources, key=list(facts.domains).index)


# Configurations


def configuration(cfg: CN, stage: Stage) -> CN:
    """Return the configuration of a stage of a run of `cfg`; the data that it is made from are not named in it.

    Raises:
        UserError: an unknown trainer, file, key or value.
    """
    return _of_the_run(cfg, stage) if stage.config is None else _of_yaml(cfg, stage)


def _of_the_run(cfg: CN, stage: Stage) -> CN:
    made = cfg.clone()
    made.defrost()
    merge_opts(made, ["STAGE", "", *_pairs(stage)], source=f"stage {stage.trainer}")
    return made


def _of_yaml(cfg: CN, stage: Stage) -> CN:
    """The same dataset, seed and CLIP under the stage's own YAML."""
    cls = TRAINER_REGISTRY.get(stage.trainer)
    made, sources = get_cfg_default(), {}
    extend_cfg(made, cfg.EXTEND_CFG, cls.BLOCK)
    path = trainer_file(cls.__name__, cfg.DATASET.NAME, stage.config)
    merge_file(made, str(path), aliases=cls.KEY_ALIASES, sources=sources)
    made.DATASET, made.SEED, made.USE_CUDA = cfg.DATASET.clone(), cfg.SEED, cfg.USE_CUDA
    made.DETERMINISTIC, made.DATALOADER.NUM_WORKERS = cfg.DETERMINISTIC, cfg.DATALOADER.NUM_WORKERS
    made.MODEL.BACKBONE, made.MODEL.TEXT_CHUNK = cfg.MODEL.BACKBONE.clone(), cfg.MODEL.TEXT_CHUNK
    made.TEST.FEATURE_CACHE = cfg.TEST.FEATURE_CACHE
    made.defrost()  # what was copied may be frozen
    merge_opts(made, _pairs(stage), source=f"stage {stage.trainer}", aliases=cls.KEY_ALIASES, sources=sources)
    complete(made, cls, sources)
    made.STAGE = stage_hash(made)
    return made


def _pairs(stage: Stage) -> list:
    """KEY VALUE pairs of every stage, then those that it declares, then the user's."""
    pairs = ["TRAINER.NAME", TRAINER_REGISTRY.get(stage.trainer).__name__, "DATASET.FINGERPRINT", ""]
    domains = [] if isinstance(stage.domains, str) else list(stage.domains)
    pairs += ["DATASET.SOURCE_DOMAINS", domains, "DATASET.TARGET_DOMAINS", domains] if domains else []
    return [*pairs, "RESUME", "", "PROTOCOL", "stage", *stage.changes, *stage.opts]


def trainer_file(trainer: str, dataset: str, config: str = "") -> Path:
    """The YAML that a stage is made from.

    Args:
        trainer: registered name of the stage's trainer.
        dataset: DATASET.NAME, any of its names.
        config: a file of `configs/trainers/<trainer>/` without its suffix; empty for the dataset's own file,
            `mini.yaml` in the embedded world, or `default.yaml`, whichever exists first.

    Raises:
        UserError: there is no such file.
    """
    return trainer_config_file(trainer, [config] if config else [*_dataset_files(dataset), "default"])


def _dataset_files(dataset: str) -> list[str]:
    """Names that the dataset's YAML has in configs/datasets; `mini` behind them for an embedded one."""
    registered, stems, embedded = DATASET_REGISTRY.get(dataset), [], False
    for path in sorted((checkout() / "configs" / "datasets").glob("*.yaml")):
        content = _content(path, path.stat().st_mtime_ns)
        name = content.get("DATASET", {}).get("NAME", "")
        if name in DATASET_REGISTRY.registered_names() and DATASET_REGISTRY.get(name) is registered:
            stems.append(path.stem)
            embedded |= content.get("MODEL", {}).get("BACKBONE", {}).get("NAME") in EMBEDDED
    return [*stems, "mini"] if embedded else stems


@functools.cache
def _content(path: Path, changed: int) -> dict:
    """A YAML's content, read once for as long as it is not changed: protocols ask for it again for every job."""
    return read_yaml(path) or {}


def walk(cfg: CN, path: str = "") -> Iterator[tuple[str, Stage, CN]]:
    """Yield (`--stage` words, stage, its configuration) of what a run of `cfg` needs, what a stage needs before it."""
    for stage in needed(cfg):
        name, made = f"{path}{stage.name}", configuration(cfg, stage)
        yield from walk(made, f"{name}/")
        yield name, stage, made


def start_aliases(block: str, family: str, *names: str) -> dict[str, str]:
    """Return {TRAINER.<block>.START.<name>: TRAINER.<block>.<family>_<name>}: every trainer has the keys START.*."""
    return {f"TRAINER.{block}.START.{name}": f"TRAINER.{block}.{family}_{name}" for name in names}
