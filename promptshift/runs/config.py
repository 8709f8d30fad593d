"""From a command line to a configuration, with CoOp's flags and precedence.

defaults -> --dataset-config-file -> --config-file -> named flags -> trailing KEY VALUE pairs.
"""

from __future__ import annotations

import argparse
import hashlib

from yacs.config import CfgNode as CN

from dassl.config import get_cfg_default, merge_file, merge_opts
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from dassl.utils.yaml_reader import read_yaml
from promptshift.paths import load_plugins
from promptshift.runs.options import complete
from promptshift.runs.public_files.declared_keys import extend_cfg
from promptshift.runs.public_files.released import released_value

# what may differ between two runs of the same configuration: places, speed and talk
_NOT_HASHED = (
    "OUTPUT_DIR",
    "RESUME",
    "DATASET.ROOT",
    "DATASET.DOWNLOAD",
    "DATASET.TPT",
    "DATALOADER.NUM_WORKERS",
    "USE_CUDA",
    "VERBOSE",
    "DETERMINISTIC",
    "TRAIN.PRINT_FREQ",
    "TEST.FEATURE_CACHE",
    "PROTOCOL",
    "MODEL.TEXT_CHUNK",
    "TRAIN.CHECKPOINT_FREQ",
    "TEST.TTA_BATCH",
    "TEST.STRICT",
    "EXTEND_CFG",  # what it declares is in the configuration
)

# flags of CoOp, SPG and DPSPG that name one configuration key: flag -> key
_KEY_FLAGS = {
    "root": "DATASET.ROOT",
    "output-dir": "OUTPUT_DIR",
    "resume": "RESUME",
    "seed": "SEED",
    "extend-cfg": "EXTEND_CFG",
    "trainer": "TRAINER.NAME",
    "backbone": "MODEL.BACKBONE.NAME",
    "head": "MODEL.HEAD.NAME",
    "lr": "OPTIM.LR",
    "weight_decay": "OPTIM.WEIGHT_DECAY",
    "warmup_epoch": "OPTIM.WARMUP_EPOCH",
    "alpha": "TRAINER.DPSPG.ALPHA",
    "early_epoch": "TRAINER.DPSPG.EARLY",
    "late_epoch": "TRAINER.DPSPG.LATE",
    "latent_dim": "TRAINER.SPG.LATENT_DIM",
    "g_max_norm_weight": "TRAINER.SPG.G_MAX_NORM_WEIGHT",
    "g_max_norm_bias": "TRAINER.SPG.G_MAX_NORM_BIAS",
    "g_max_norm_bias_last": "TRAINER.SPG.G_MAX_NORM_BIAS_LAST",
    "d_max_norm_weight": "TRAINER.SPG.D_MAX_NORM_WEIGHT",
    "d_max_norm_bias": "TRAINER.SPG.D_MAX_NORM_BIAS",
    "d_max_norm_last": "TRAINER.SPG.D_MAX_NORM_LAST",
}
_LIST_FLAGS = {
    "source-domains": "DATASET.SOURCE_DOMAINS",
    "target-domains": "DATASET.TARGET_DOMAINS",
    "transforms": "INPUT.TRANSFORMS",
}

# SPG's codes of whole datasets, for its cross-dataset runs
_DATASET_CODES = {"d": "DomainNet", "o": "OfficeHome", "p": "PACS", "t": "TerraIncognita", "v": "VLCS"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise UserError(f"command line: {message}")


def parser() -> argparse.ArgumentParser:
    """The command line of train.py."""
    p = _Parser("train.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    more = {"extend-cfg": ": a file with upstream's extend_cfg(cfg), e.g. its train.py, whose keys are declared too"}
    for flag, key in _KEY_FLAGS.items():
        p.add_argument(f"--{flag}", default=None, help=f"sets {key}{more.get(flag, '')}")
    for flag, key in _LIST_FLAGS.items():
        p.add_argument(f"--{flag}", nargs="+", default=None, help=f"sets {key}")
    p.add_argument("--dataset-config-file", default="", help="YAML of the dataset")
    p.add_argument("--config-file", default="", help="YAML of the trainer")
    for flag, when in (("source", "without"), ("target", "with")):
        p.add_argument(
            f"--{flag}-datasets",
            nargs="+",
            default=None,
            help=f"SPG's code of the dataset to {'train' if flag == 'source' else 'test'} on, whole; {when} "
            f"--eval-only; one of {', '.join(_DATASET_CODES)}; of several the first, as in SPG",
        )
    p.add_argument("--eval-only", action="store_true", help="no training: load --model-dir and test")
    p.add_argument("--model-dir", default="", help="a finished run's folder, for --eval-only")
    p.add_argument("--load-epoch", type=int, default=None, help="which epoch of --model-dir (default: best, else last)")
    p.add_argument("--no-train", action="store_true", help="build everything, train nothing, test nothing")
    p.add_argument("--stage", default="", metavar="NAME", help="make only this stage of the run, where stages are kept")
    p.add_argument("--deterministic", action="store_true", help="sets DETERMINISTIC: repeatable GPU kernels only")
    p.add_argument("--gpu", default=None, help="which GPU to use, as CUDA_VISIBLE_DEVICES")
    p.add_argument("--tpt", action="store_true", help="accepted for older scripts, changes nothing")
    p.add_argument("--save", nargs="?", const="True", help="accepted for older scripts, changes nothing")
    p.add_argument("--n_classes", default=None, help="accepted for older scripts: classes are counted from the data")
    p.add_argument("opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs, the last word on any key")
    return p


def build_cfg(argv: list[str], of_files: dict | None = None) -> tuple[CN, argparse.Namespace]:
    """Command line -> (frozen configuration, parsed flags), checked before anything is loaded.

    Args:
        argv: the words.
        of_files: what the files of earlier command lines made, by their names, so that each is read once; filled here.

    Raises:
        UserError: unknown flag, file, key, trainer, dataset or value.
    """
    load_plugins()
    args = parser().parse_args(argv)
    trainer = TRAINER_REGISTRY.get(args.trainer or _trainer_named_in(args.config_file))
    aliases = getattr(trainer, "KEY_ALIASES", {})
    files = (trainer, _extension_file(args), args.dataset_config_file, args.config_file)
    of_files = {} if of_files is None else of_files
    if files not in of_files:
        of_files[files] = _of_files(*files)
    cfg, sources = of_files[files][0].clone(), dict(of_files[files][1])
    _give_back_swallowed_keys(args, cfg)
    merge_opts(cfg, [*_dataset_flags_as_opts(args), *_flags_as_opts(args, cfg)], sources=sources)
    merge_opts(cfg, [*args.opts, *_as_declared(cfg, of_files[files][0])], aliases=aliases, sources=sources)
    _check_dataset(cfg)
    complete(cfg, trainer, sources)
    if cfg.DATASET.TEST_ALL and not args.eval_only:
        raise UserError(
            "DATASET.TEST_ALL: True makes the training images test images; only with --eval-only, for a "
            "model that was trained on another dataset"
        )
    cfg.STAGE = "" if args.eval_only else stage_hash(cfg)
    cfg.freeze()
    return cfg, args


def _of_files(trainer: type, extension: str, *paths: str) -> tuple[CN, dict]:
    """The defaults with the files merged in that are named, and the file of every key that one of them sets."""
    cfg, sources = get_cfg_default(), {}
    extend_cfg(cfg, extension, getattr(trainer, "BLOCK", ""))
    declared = cfg.EXTEND_CFG
    for path in filter(None, paths):
        merge_file(cfg, path, getattr(trainer, "KEY_ALIASES", {}), sources, released_value)
        if cfg.EXTEND_CFG != declared:  # a file of settings names no code
            raise UserError(f"{path}: EXTEND_CFG is given on the command line only: --extend-cfg FILE")
    return cfg, sources


def _extension_file(args: argparse.Namespace) -> str:
    """The file of --extend-cfg or EXTEND_CFG, whose keys must be there before any file is merged; the last one wins."""
    given = [value for key, value in zip(args.opts[::2], args.opts[1::2]) if key == "EXTEND_CFG"]
    return [args.extend_cfg or "", *given][-1]


def _as_declared(cfg: CN, of_files: CN) -> list:
    """The path that `extend_cfg` made absolute, behind the words that give it as the user wrote it."""
    return ["EXTEND_CFG", of_files.EXTEND_CFG] if of_files.EXTEND_CFG else []


def _give_back_swallowed_keys(args: argparse.Namespace, cfg: CN) -> None:
    """KEY VALUE pairs right behind a flag that takes several words belong to the options, not to the flag."""
    keys = flatten(cfg)
    if args.save in keys:
        args.save, args.opts = "True", [args.save, *args.opts]
    for flag in (*_LIST_FLAGS, "source-datasets", "target-datasets"):
        name = flag.replace("-", "_")
        words = getattr(args, name) or []
        start = next((i for i, word in enumerate(words) if word in keys), len(words))
        if start < len(words):
            setattr(args, name, words[:start])
            args.opts = [*words[start:], *args.opts]


def _trainer_named_in(path: str) -> str:
    name = ""
    if path:
        try:
            name = ((read_yaml(path) or {}).get("TRAINER") or {}).get("NAME", "")
        except (UserError, AttributeError):
            name = ""  # merge_file reports the file itself
    if not name and not path:
        raise UserError("--trainer: no trainer given; allowed: " + ", ".join(TRAINER_REGISTRY.registered_names()))
    return name or "CoOp"


def _flags_as_opts(args: argparse.Namespace, cfg: CN) -> list:
    opts = ["DETERMINISTIC", True] if args.deterministic else []
    for flag, key in (_KEY_FLAGS | _LIST_FLAGS).items():
        value = getattr(args, flag.replace("-", "_"))
        if value is not None:
            opts += [key, value]
    return opts


def _dataset_flags_as_opts(args: argparse.Namespace) -> list:
    """SPG's --source-datasets and --target-datasets: one run trains on a dataset, another tests on the other."""
    from datasets.domain_sets import find_domain_set

    given = {"--source-datasets": args.source_datasets, "--target-datasets": args.target_datasets}
    for flag, codes in given.items():
        for code in codes or ():
            if code not in _DATASET_CODES:
                raise UserError(f"command line: {flag}: invalid choice: {code!r}, allowed: {', '.join(_DATASET_CODES)}")
        if len(codes or ()) > 1:
            print(f"{flag} {' '.join(codes)}: {codes[0]} is used, the first, as in SPG")
            given[flag] = codes[:1]
    used, unused = list(given)[::-1] if args.eval_only else list(given)
    if args.eval_only and not given[used]:  # SPG's scripts call the dataset that they test so
        used, unused = unused, used
    if given[unused] and given[unused] != given[used]:
        raise UserError(
            f"{unused} {given[unused][0]}: {'with' if args.eval_only else 'without'} --eval-only a run "
            f"takes {used} only; scripts/<method>/cross_dataset.sh does the training and the tests"
        )
    if not given[used]:
        return []
    name = _DATASET_CODES[given[used][0]]
    domains = list(find_domain_set(name).domains)
    opts = ["DATASET.NAME", name, "DATASET.SOURCE_DOMAINS", domains, "DATASET.TARGET_DOMAINS", domains]
    return [*opts, "DATASET.TEST_ALL", True, "TEST.SPLIT", "test"] if args.eval_only else [*opts, "TEST.SPLIT", "val"]


def _check_dataset(cfg: CN) -> None:
    from dassl.data.datasets import DATASET_REGISTRY

    if not cfg.DATASET.NAME:
        raise UserError("DATASET.NAME is empty; give --dataset-config-file or DATASET.NAME")
    DATASET_REGISTRY.get(cfg.DATASET.NAME)


def flatten(cfg: CN, prefix: str = "") -> dict:
    """Nested configuration -> {dotted key: value}."""
    flat = {}
    for key, value in cfg.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, CN) else {prefix + key: value}
    return flat


def config_hash(cfg: CN) -> str:
    """16 hex digits; equal for two configurations that ask for the same numbers.

    Places (folders), speed (workers, chunks, caches) and talk (print frequency) do not count, nor do other
    trainers' blocks.
    """
    kept = {
        key: list(value) if isinstance(value, tuple) else value  # YAML has no tuples
        for key, value in sorted(flatten(cfg).items())
        if decides(key, cfg)
    }
    for key in ("STAGE", "DATASET.PARTIAL", "TEST.WEIGHTS"):  # most runs have none, earlier ones did not know them
        if not kept.get(key):
            kept.pop(key, None)
    return hashlib.blake2b(repr(kept).encode(), digest_size=8).hexdigest()


def stage_hash(cfg: CN) -> str:
    """`config_hash` of the stages with a YAML of their own that a run of `cfg` starts from; "" where there is none.

    Data and seed are left out: they are those of `cfg`. With it in STAGE, a changed YAML of the stage is a changed
    configuration of every run that learns from it.
    """
    from promptshift.runs.stages import configuration, declared  # which are made from configurations

    hashes = []
    for stage in declared(cfg):
        if stage.config is not None and not stage.run:
            made = configuration(cfg, stage)
            made.DATASET, made.SEED = get_cfg_default().DATASET, 0
            hashes.append(config_hash(made))
    return "-".join(hashes)


def decides(key: str, cfg: CN) -> bool:
    """Whether the numbers of a run depend on a dotted key: a place, speed, talk or another trainer's key does not."""
    return key not in _NOT_HASHED and concerns(key, cfg)


def concerns(key: str, cfg: CN) -> bool:
    """Whether the trainer that `cfg` names reads a dotted key: not one of another trainer's block."""
    if not key.startswith("TRAINER.") or key.count(".") < 2:
        return True
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    block, option = key.split(".")[1:3]
    if block not in {base.__dict__.get("BLOCK") for base in trainer.__mro__}:
        return not getattr(trainer, "BLOCK", "")
    options = getattr(trainer, "HASHED_OPTIONS", None)
    return options is None or option in options
