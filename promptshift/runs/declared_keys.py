"""Which configuration keys there are beside Dassl's: the project's, the trainers' own, and a public file's."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError, one_line

# what the train.py of the public repositories declares for their trainer files, which bring no block of their own;
# a block of the same name that one of our trainers declares (BLOCK, DEFAULTS) stands instead
_IVLP = dict(
    N_CTX_VISION=2, N_CTX_TEXT=2, CTX_INIT="a photo of a", PREC="fp16", PROMPT_DEPTH_VISION=9, PROMPT_DEPTH_TEXT=9
)
_MAPLE = dict(N_CTX=2, CTX_INIT="a photo of a", PREC="fp16", PROMPT_DEPTH=9)
_PUBLIC_BLOCKS = {
    "COOP": dict(N_CTX=16, CSC=False, CTX_INIT="", PREC="fp16", CLASS_TOKEN_POSITION="end"),
    "COCOOP": dict(N_CTX=16, CTX_INIT="", PREC="fp16"),
    "MAPLE": _MAPLE,
    "PROMPTALIGN": _MAPLE,
    "IVLP": _IVLP,
    "VPT": dict(N_CTX_VISION=2, CTX_INIT="a photo of a", PREC="fp16", PROMPT_DEPTH_VISION=1),
    "PROMPTSRC": _IVLP
    | dict(N_CTX_VISION=4, N_CTX_TEXT=4, TEXT_LOSS_WEIGHT=25.0, IMAGE_LOSS_WEIGHT=10.0, GPA_MEAN=15.0, GPA_STD=1.0)
    | dict(TEMPLATES=[]),
    "PROMPTKD": _IVLP
    | dict(
        N_CTX_VISION=4,
        N_CTX_TEXT=4,
        PROJECT_LAYER=2,
        CE_WEIGHT=1.0,
        KD_WEIGHT=1.0,
        TEMPERATURE=1.0,
        TEACHER_NAME="ViT-L/14",
        MODAL="base2novel",
    ),
    # read by no public file (KgCoOp's reads CoOp's block), but set by the files of configs/trainers
    "KGCOOP": dict(N_CTX=4, CTX_INIT="a photo of a", CSC=False, PREC="fp16", W=8.0, DISTANCE="euclidean"),
    "ZSCLIP": dict(PREC="fp16", TEMPLATE=""),
}


def extend_cfg(cfg: CN, path: str = "", typed: str = "") -> None:
    """Adds the project's keys, every registered trainer's own block (its DEFAULTS), then the public blocks left.

    Args:
        cfg: Dassl's defaults.
        path: a file with a function `extend_cfg(cfg)`, e.g. the train.py of a public repository, which then adds its
            own keys and changes defaults; a number it declares as int stays a float where ours is one.
        typed: block of the trainer that is to run where it is ours: no value there may change its type.

    Raises:
        UserError: there is no such file or function, or it fails.
    """
    cfg.DETERMINISTIC = False  # only kernels that repeat exactly, also on a GPU
    cfg.STAGE = ""  # filled in: what the stage that a run learns from is made with
    cfg.EXTEND_CFG = ""  # file whose extend_cfg(cfg) declares the keys of a public trainer file
    cfg.PROTOCOL = ""  # recorded in result.json: which protocol asked for the run
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"  # all | base | new
    cfg.DATASET.DOWNLOAD = True  # try to download what is missing
    cfg.DATASET.FINGERPRINT = ""  # names the images a stage was made from
    cfg.DATASET.FOLDER = ""  # FolderDG: the folder of your own images, below DATASET.ROOT
    cfg.DATASET.TEST_ALL = False  # test on every image of the targets, also where they are the sources
    cfg.DATASET.VARIANT = ""  # a dataset's other version (DomainNet: full)
    cfg.MODEL.BACKBONE.PATH = ""  # local CLIP weights
    cfg.MODEL.TEXT_CHUNK = 16384  # most text tokens that run at once (memory bound, changes no number)
    cfg.TEST.FEATURE_CACHE = True  # keep frozen image features of test images on disk
    cfg.TEST.EVAL_FREQ = 1  # epochs between validations under best_val
    cfg.TEST.TTA_BATCH = 0  # images adapted together at test time; 0: as many as memory allows
    cfg.TEST.STRICT = False  # at test time, stop at an unreadable image (else: wrong)
    cfg.DATALOADER.TRAIN_X.FEATURE_VIEWS = 0  # K > 0: train on K stored views of each image instead of fresh ones
    _add_blocks(cfg)
    if path:
        _call_extension(cfg, Path(path).expanduser().resolve(), typed)


def _add_blocks(cfg: CN) -> None:
    """Where two trainers share a block the first declares it, but for a trainer that took the name of one of ours."""
    names = {trainer.__name__ for trainer in TRAINER_REGISTRY.replaced}
    for trainer in TRAINER_REGISTRY.objects():
        block = getattr(trainer, "BLOCK", "")
        if block and block not in cfg.TRAINER:
            cfg.TRAINER[block] = CN(trainer.DEFAULTS)
        elif block and trainer.__name__ in names:
            _take_over(cfg.TRAINER[block], CN(trainer.DEFAULTS), "")
    for block, defaults in _PUBLIC_BLOCKS.items():
        if block not in cfg.TRAINER:
            cfg.TRAINER[block] = CN(defaults)


def _call_extension(cfg: CN, path: Path, typed: str) -> None:
    function = _extension(path)
    theirs = cfg.clone()
    try:
        function(theirs)
    except Exception as error:
        raise UserError(f"EXTEND_CFG: extend_cfg of {path} fails: {type(error).__name__}: {one_line(error)}") from None
    _take_over(cfg, theirs, f"TRAINER.{typed}" if typed else "")
    cfg.EXTEND_CFG = str(path)


def _extension(path: Path) -> Callable[[CN], None]:
    """The function, without those imports of a train.py that serve its main program and are not here.

    Each statement of the file runs on its own; nothing does below `if __name__ == "__main__"`.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"EXTEND_CFG: cannot read {path}: {getattr(error, 'strerror', 'not a text file')}") from None
    except (SyntaxError, ValueError) as error:
        raise UserError(f"EXTEND_CFG: {path} is no Python file: {one_line(error)}") from None
    names: dict = {"__name__": path.stem, "__file__": str(path)}
    for statement in tree.body:
        try:
            exec(compile(ast.Module([statement], []), str(path), "exec"), names)
        except ImportError:
            continue  # a name that is needed is missed when the function runs
        except Exception as error:
            raise UserError(f"EXTEND_CFG: {path}, line {statement.lineno}: {one_line(error)}") from None
    if not callable(names.get("extend_cfg")):
        raise UserError(f"EXTEND_CFG: {path} defines no function extend_cfg(cfg)")
    return names["extend_cfg"]


def _take_over(ours: CN, theirs: CN, typed: str, prefix: str = "") -> None:
    """Puts every value of `theirs` into `ours`, whose further keys stay, in the types that the docstring above says."""
    for name, value in theirs.items():
        key, old = f"{prefix}{name}", ours.get(name)
        if isinstance(value, CN) and isinstance(old, CN):
            _take_over(old, value, typed, f"{key}.")
        elif type(old) is float and type(value) is int:
            ours[name] = float(value)
        elif not (typed and key.startswith(f"{typed}.") and name in ours and type(old) is not type(value)):
            ours[name] = value
