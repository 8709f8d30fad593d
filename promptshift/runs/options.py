"""The project's own configuration keys, and the check of a merged configuration against what its keys allow."""

from __future__ import annotations

from collections.abc import Mapping

from yacs.config import CfgNode as CN

from dassl.config import OPTIONS, check_values
from dassl.config.options import Option, block, choice, flag, options_of, text, whole
from dassl.engine import TRAINER_REGISTRY
from promptshift.runs.backbone_name import name_backbone
from promptshift.runs.public_files.public_blocks import CONFIGURED, PUBLIC_BLOCKS

PROJECT_KEYS = dict(
    DETERMINISTIC=flag(False, about="only kernels that repeat exactly, also on a GPU"),
    STAGE=text("", about="filled in: what the stage that a run learns from is made with"),
    EXTEND_CFG=text("", about="file whose extend_cfg(cfg) declares the keys of a public trainer file"),
    PROTOCOL=text("", about="recorded in result.json: which protocol asked for the run"),
    DATASET=dict(
        SUBSAMPLE_CLASSES=choice("all", "base", "new"),
        DOWNLOAD=flag(True, about="try to download what is missing"),
        FINGERPRINT=text("", about="names the images a stage was made from"),
        FOLDER=text("", about="FolderDG: the folder of your own images, below DATASET.ROOT"),
        TPT=text("", about="accepted for PromptAlign's files; DATASET.NAME says which images are tested"),
        TEST_ALL=flag(False, about="test on every image of the targets, also where they are the sources"),
        PARTIAL=flag(False, about="run on part of a known dataset's images; every table says so"),
        VARIANT=text("", about="a dataset's other version (DomainNet: full)"),
    ),
    MODEL=dict(
        BACKBONE=dict(PATH=text("", about="local CLIP weights")),
        TEXT_CHUNK=whole(16384, least=1, about="most text tokens that run at once; changes no number"),
    ),
    TEST=dict(
        FEATURE_CACHE=flag(True, about="keep frozen image features of test images on disk"),
        EVAL_FREQ=whole(1, least=1, about="epochs between validations under best_val"),
        TTA_BATCH=whole(0, least=0, about="images adapted together at test time; 0: as many as memory allows"),
        STRICT=flag(False, about="at test time, stop at an unreadable image (else: wrong)"),
        WEIGHTS=text("", about="recorded: the weights trained elsewhere that an evaluation tests"),
    ),
    DATALOADER=dict(
        TRAIN_X=dict(
            FEATURE_VIEWS=whole(0, least=0, about="K > 0: train on K stored views of each image instead of fresh ones")
        )
    ),
)


def trainer_blocks() -> dict[str, dict]:
    """Return {block: declared keys} of every trainer that has a block; of two, the one registered first.

    Trainers whose names went to files of the user's count too: their configuration files set these keys.
    """
    found: dict[str, dict] = {}
    for trainer in TRAINER_REGISTRY.objects():
        if getattr(trainer, "BLOCK", ""):
            found.setdefault(trainer.BLOCK, trainer.DEFAULTS)
    return found


def trainer_options(trainer: type) -> dict[str, Option]:
    """Return {dotted key: what it allows} of a trainer's own block; {} for one without declarations."""
    block_name = getattr(trainer, "BLOCK", "")
    return options_of(trainer.DEFAULTS, f"TRAINER.{block_name}") if block_name else {}


def add_keys(cfg: CN) -> None:
    """Add the project's keys, every registered trainer's own block, then the public blocks that are left."""
    _add(cfg, block(PROJECT_KEYS))
    for name, declared in {**PUBLIC_BLOCKS, **trainer_blocks()}.items():
        if name not in cfg.TRAINER:
            cfg.TRAINER[name] = block(declared)
    for name, keys in CONFIGURED.items():
        cfg.TRAINER[name] = CN({**keys, **cfg.TRAINER.get(name, {})})
    taken = {trainer.__name__ for trainer in TRAINER_REGISTRY.replaced}
    for trainer in TRAINER_REGISTRY.objects():
        if trainer.__name__ in taken and trainer not in TRAINER_REGISTRY.replaced and getattr(trainer, "BLOCK", ""):
            take_over(cfg.TRAINER[trainer.BLOCK], block(trainer.DEFAULTS), "")


def _add(cfg: CN, keys: CN) -> None:
    for name, value in keys.items():
        if isinstance(value, CN) and name in cfg:
            _add(cfg[name], value)
        else:
            cfg[name] = value


def take_over(ours: CN, theirs: CN, typed: str, prefix: str = "") -> None:
    """Put every value of `theirs` into `ours`, whose further keys stay.

    Args:
        ours, theirs: configurations; an int of theirs stays a float where ours is one.
        typed: dotted name of a block whose values keep their types.
        prefix: dotted name of `ours`, with a dot behind it.
    """
    for name, value in theirs.items():
        key, old = f"{prefix}{name}", ours.get(name)
        if isinstance(value, CN) and isinstance(old, CN):
            take_over(old, value, typed, f"{key}.")
        elif type(old) is float and type(value) is int:
            ours[name] = float(value)
        elif not (typed and key.startswith(f"{typed}.") and name in ours and type(old) is not type(value)):
            ours[name] = value


def complete(cfg: CN, trainer: type, sources: Mapping[str, str] | None = None) -> None:
    """Check every declared key, let the trainer fill in what follows from other keys, and check how keys relate.

    Args:
        cfg: the merged configuration; the trainer's `fill_in` changes it, nothing else does.
        trainer: the trainer that it names.
        sources: dotted key -> where its value came from, see `dassl.config.merge_file`.

    Raises:
        UserError: a value or a combination that is not allowed.
    """
    declared = OPTIONS | options_of(PROJECT_KEYS)
    for name, keys in trainer_blocks().items():
        if not cfg.EXTEND_CFG or name == getattr(trainer, "BLOCK", ""):  # blocks of others are then a public file's
            declared |= options_of(keys, f"TRAINER.{name}")
    check_values(cfg, declared, sources)
    name_backbone(cfg, sources or {})
    if hasattr(trainer, "as_released"):
        trainer.as_released(cfg, sources or {})
    for step in ("fill_in", "check_options"):
        if hasattr(trainer, step):
            getattr(trainer, step)(cfg)
