"""The runs that other runs start from: where they are, which of them are there, and how one is made.

A stage lies in a folder below the output root. It is used again when its result is complete and was made with the same
configuration from the same images.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
from pathlib import Path

from filelock import FileLock
from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.config import merge_opts
from dassl.data.datasets import DatasetBase, build_dataset
from dassl.engine import TrainerBase
from dassl.utils import load_checkpoint, set_random_seed
from dassl.utils.errors import UserError, quoted, suggest
from dassl.utils.torchtools import BEST
from dassl.utils.yaml_reader import read_yaml
from promptshift.paths import output_root
from promptshift.randomness import own_random_state
from promptshift.runs.config import config_hash
from promptshift.runs.finished_run import check_run, load_weights
from promptshift.runs.stages import Stage, configuration, needed

log = logging.getLogger(__name__)


def planned_folder(made: CN, stage: Stage) -> Path:
    """Return the folder of a stage before its data are looked at, where earlier versions put it if it is there."""
    plain = _folder(made, stage)
    if not (plain / "config.yaml").is_file():
        for other in sorted(plain.parent.glob(f"{glob.escape(_label(made, stage))}-????????")):
            if (other / "config.yaml").is_file() and _folder(as_in(other, made), stage) == other:
                return other
    return plain


def as_in(folder: Path, made: CN) -> CN:
    """Return the configuration of a stage with the data named that the run in `folder` was made from."""
    return _with_data(made, _data_of(folder))


def _with_data(made: CN, fingerprint: str) -> CN:
    made = made.clone()
    made.defrost()
    made.DATASET.FINGERPRINT = fingerprint
    return made


def _data_of(folder: Path) -> str:
    """DATASET.FINGERPRINT of the run in `folder`; "" where none is readable."""
    try:
        return str(read_yaml(folder / "config.yaml")["DATASET"]["FINGERPRINT"])
    except (UserError, OSError, KeyError, TypeError):
        return ""


def _label(made: CN, stage: Stage) -> str:
    classes, shots = made.DATASET.SUBSAMPLE_CLASSES, made.DATASET.NUM_SHOTS
    return "+".join(stage.domains) or f"{classes}-shots_{max(shots, 0)}"


def _folder(made: CN, stage: Stage) -> Path:
    backbone = made.MODEL.BACKBONE.NAME.replace("/", "").replace(":", "_")
    place = output_root() / stage.place / made.DATASET.NAME / backbone / made.TRAINER.NAME / f"seed_{made.SEED}"
    return place / f"{_label(made, stage)}-{config_hash(made)[:8]}"


def data_fingerprint(items: list, root: str) -> str:
    """16 hex digits over the relative path, size and label of every image of a stage."""
    digest = hashlib.blake2b(digest_size=8)
    for item in items:
        digest.update(f"{os.path.relpath(item.impath, root)}|{os.path.getsize(item.impath)}|{item.label}\n".encode())
    return digest.hexdigest()


def _images(cfg: CN, stage: Stage, dataset: DatasetBase | None) -> list:
    if dataset is None:
        changed = cfg.clone()
        changed.defrost()
        merge_opts(changed, stage.images_of, source=f"stage {stage.trainer}")
        dataset = build_dataset(changed)
    items = [item for part in stage.parts for item in (dataset.train_x if part == "train" else dataset.val or [])]
    return [item for item in items if dataset.domains[item.domain] in stage.domains] if stage.domains else items


# Finding and making them


def provide(cfg: CN, stage: Stage, dataset: DatasetBase | None = None) -> Path:
    """Return the folder of what a run of `cfg` starts from: the named run, or a stage that is found or made now.

    Args:
        cfg: the configuration of the run that needs it.
        stage: one of `declared(cfg)`, on some domains where it is declared for EACH or all TOGETHER.
        dataset: the dataset whose images name the data, where it is at hand; else it is built.

    Raises:
        UserError: the named run is of another trainer or of other data, or the stage cannot be made.
    """
    made = configuration(cfg, stage)
    if stage.run:
        if stage.same:
            check_run(stage.run, stage.key, made, stage.same)
        return Path(stage.run)
    named = _with_data(made, data_fingerprint(_images(cfg, stage, dataset), made.DATASET.ROOT))
    # exact: as earlier versions, and where other data have taken the plain one
    plain, exact = _folder(made, stage), _folder(named, stage)
    for folder in (exact, plain) if (exact / "config.yaml").is_file() else (plain, exact):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):  # two runs side by side may need the same stage: one makes it
            if folder == exact or not _holds_result_of_other_data(folder, named):
                _make_once(named, folder, stage.what)
                break
    return folder


def _holds_result_of_other_data(folder: Path, named: CN) -> bool:
    from promptshift.runs.run import finished

    other = as_in(folder, named)
    other.OUTPUT_DIR = str(folder)
    return other.DATASET.FINGERPRINT != named.DATASET.FINGERPRINT and finished(other)


def _make_once(made: CN, folder: Path, what: str) -> None:
    from promptshift.runs.run import finished, run  # a run may need stages, which are runs

    made.OUTPUT_DIR = str(folder)
    made.freeze()
    if finished(made):
        log.info(f"{what}: found in {folder}")
        return
    log.info(f"{what}: training in {folder}")
    with own_random_state():
        run(made)


def load_stage(trainer: TrainerBase, cfg: CN, stage: Stage, dataset: DatasetBase | None = None) -> None:
    """Load what a stage learnt into a trainer that registers modules of the same names; see `provide`."""
    load_weights(trainer, provide(cfg, stage, dataset), stage.key, stage.epoch)


def stage_tensors(cfg: CN, stage: Stage, dataset: DatasetBase | None = None) -> dict[str, Tensor]:
    """Return the tensors that a stage declares to give, by their own names; see `provide`.

    Raises:
        UserError: the stage's checkpoint lacks one of them.
    """
    folder, found = provide(cfg, stage, dataset), {}
    for model, tensor in (name.split("/") for name in stage.takes):
        file = folder / model / BEST
        state = load_checkpoint(file)["state_dict"]
        if not isinstance(state.get(tensor), Tensor):
            raise UserError(f"{file} holds no tensor {tensor}; delete {folder} to make the {stage.place} again")
        found[tensor] = state[tensor]
    return found


def make(cfg: CN, path: str) -> Path:
    """Find or make one of the stages of a run and nothing else; return its folder.

    Args:
        cfg: the configuration of the run that needs it.
        path: names of stages with slashes between them, the last one that of the stage to make: "backbone/teacher".

    Raises:
        UserError: there is no such stage, or it cannot be made.
    """
    name, _, rest = path.partition("/")
    known = {stage.name: stage for stage in needed(cfg)}
    if name not in known:
        allowed = (", ".join(known) or "none") + suggest(name, known)
        raise UserError(f"--stage: {cfg.TRAINER.NAME} has no stage {quoted(name)}; allowed: {allowed}")
    if rest:
        return make(configuration(cfg, known[name]), rest)
    if cfg.SEED >= 0:
        set_random_seed(cfg.SEED)
    return provide(cfg, known[name])
