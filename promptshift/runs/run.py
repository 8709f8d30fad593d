"""One configuration, run from start to result.json."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

from yacs.config import CfgNode as CN

from dassl.data.datasets import DatasetBase
from dassl.engine import TRAINER_REGISTRY, build_trainer
from dassl.utils import atomic_path, collect_env_info, log_to, set_deterministic, set_random_seed, write_json
from dassl.utils.errors import UserError
from dassl.utils.writing import remove_stale_temporaries, write_problem
from dassl.utils.yaml_reader import read_yaml
from promptshift.results.data_state import FILE_NAME as DATA_FILE
from promptshift.results.data_state import data_problem, state_of, write_state
from promptshift.results.record import environment_versions, git_hash, peak_memory_mb, read_result, write_result
from promptshift.runs.config import build_cfg, config_hash
from promptshift.runs.finished_run import load_tested
from promptshift.runs.outside_files import explained, offer_mini
from promptshift.runs.published import expected_accuracy, published_lines
from promptshift.runs.stage_runs import make

log = logging.getLogger(__name__)

CLASSES_FILE = "classes.json"  # class names in label order: with it a run predicts without the images it learnt from


def main(argv: list[str]) -> int:
    """Entry point of train.py: 0 when done, 2 after bad input (one line, no traceback)."""
    threading.excepthook = _no_traceback_of_writers
    try:
        cfg, args = build_cfg(argv)
        if args.gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = args.gpu
        with explained(cfg):
            if args.stage:
                make(cfg, args.stage)
                return 0
            run(
                cfg,
                eval_only=args.eval_only,
                model_dir=args.model_dir,
                load_epoch=args.load_epoch,
                no_train=args.no_train,
            )
    except UserError as error:
        _say_error(str(error))
        return 2
    except OSError as error:
        if write_problem(error) is None:
            raise
        _say_error(f"cannot write {error.filename or 'standard output'}: {write_problem(error)}")
        return 2
    finally:
        threading.excepthook = threading.__excepthook__
    return 0


def _say_error(line: str) -> None:
    """Prints the one line that a run ends with; where the disk is full, on stderr alone."""
    try:
        sys.stdout.flush()
    except OSError:  # what is left is written nowhere, not even when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())
    with contextlib.suppress(OSError):  # stderr may be a file on the same disk; the exit status remains
        print(f"error: {line}", file=sys.stderr)


def _no_traceback_of_writers(failed: threading.ExceptHookArgs) -> None:
    """Keeps tensorboard's thread quiet when it cannot write: the next value raises the same error in the main thread"""
    if not isinstance(failed.exc_value, OSError):
        threading.__excepthook__(failed)


def run(
    cfg: CN, eval_only: bool = False, model_dir: str = "", load_epoch: int | None = None, no_train: bool = False
) -> dict | None:
    """Builds the trainer, trains or loads, tests, and writes result.json.

    Returns:
        The record written, or None with `no_train`.
    """
    started, clock = datetime.now(), time.perf_counter()
    remove_stale_temporaries(cfg.OUTPUT_DIR, subfolders=True)
    make_room(cfg)
    if cfg.SEED >= 0:
        log.info(f"Setting fixed seed: {cfg.SEED}")
        set_random_seed(cfg.SEED)
    if cfg.DETERMINISTIC:
        set_deterministic(True)
    with log_to(cfg.OUTPUT_DIR) as log_file:
        try:
            return _run(cfg, eval_only, model_dir, load_epoch, no_train, started, clock)
        except UserError as error:
            if log_file.file is not None:  # given up where the disk is full
                with contextlib.suppress(OSError):
                    log_file.file.write(f"error: {error}\n")
            raise


def _run(
    cfg: CN,
    eval_only: bool,
    model_dir: str,
    load_epoch: int | None,
    no_train: bool,
    started: datetime,
    clock: float,
) -> dict | None:
    _write_config(cfg)
    log.info(cfg.dump())
    log.info(f"** System info **\n{collect_env_info()}\n")
    offer_mini()
    trainer = build_trainer(cfg)
    write_json(list(trainer.dm.dataset.classnames), Path(cfg.OUTPUT_DIR, CLASSES_FILE))
    _write_data_state(cfg, trainer.dm.dataset, model_dir if eval_only else "")
    if getattr(trainer.dm.dataset, "test_only", False) and not eval_only:
        raise UserError(
            f"DATASET.NAME: {cfg.DATASET.NAME} has test images only; train on another dataset and give "
            "--eval-only --model-dir FOLDER"
        )
    if eval_only:
        load_tested(trainer, model_dir, load_epoch)
        trainer.test()
    elif no_train:
        return None
    else:
        trainer.train()
    if not trainer.last_results:
        raise UserError(
            f"{_trainer_name(cfg)}: nothing was tested, so there is no accuracy for result.json; TEST.NO_TEST is "
            f"{cfg.TEST.NO_TEST}, and a test() of the trainer's own must return the accuracy or ask self.evaluator"
        )
    record = _record(cfg, trainer, started, time.perf_counter() - clock)
    write_result(cfg.OUTPUT_DIR, record)
    for line in published_lines(cfg, record["metrics"]["accuracy"]):
        log.info(line)
    return record


def make_room(cfg: CN) -> None:
    """Moves what another configuration left in OUTPUT_DIR aside, so that nothing is resumed by mistake or lost."""
    folder = Path(cfg.OUTPUT_DIR)
    written = folder / "config.yaml"
    if cfg.RESUME or not written.is_file():
        return
    problem = data_problem(folder, cfg.DATASET.ROOT) if _same_run(written, cfg) else "of another configuration"
    if not problem:
        return
    aside = folder / f"previous-{datetime.now():%Y-%m-%d-%H-%M-%S-%f}"
    aside.mkdir()
    for path in folder.iterdir():
        if _belongs_to_run(path):
            path.rename(aside / path.name)
    log.info(f"{folder} held a run {problem}; it was moved to {aside}")


def _write_data_state(cfg: CN, dataset: object, model_dir: str) -> None:
    """Writes what the images are that a run sees, by which it is known later whether they are still the same."""
    if isinstance(dataset, DatasetBase):  # a public file's own may be anything
        write_state(cfg.OUTPUT_DIR, state_of(dataset.data_files(), cfg.DATASET.ROOT), model_dir)


def _belongs_to_run(path: Path) -> bool:
    if path.is_dir():
        return path.name == "tensorboard" or any(path.glob("model*.pth.tar*"))
    return path.name.startswith(
        ("log.txt", "result.json", "config.yaml", "last.pth.tar", CLASSES_FILE, DATA_FILE, "stream.")
    )


def _same_run(written: Path, cfg: CN) -> bool:
    """Whether the run on disk can be continued: the same configuration, the number of epochs aside."""
    try:
        old, new = CN(read_yaml(written)), cfg.clone()
        for node in (old, new):
            node.defrost()
            node.OPTIM.MAX_EPOCH = 0
        return config_hash(old) == config_hash(new)
    except Exception:  # half-written or foreign: whatever is wrong with it, it is not this run's
        return False


def _write_config(cfg: CN) -> None:
    path = Path(cfg.OUTPUT_DIR) / "config.yaml"
    with atomic_path(path) as temporary:
        Path(temporary).write_text(cfg.dump())


def _record(cfg: CN, trainer, started: datetime, seconds: float) -> dict:
    return dict(
        status="complete",
        trainer=_trainer_name(cfg),
        protocol=cfg.PROTOCOL,
        dataset=getattr(trainer.dm.dataset, "name", cfg.DATASET.NAME),
        backbone=cfg.MODEL.BACKBONE.NAME,
        source_domains=list(cfg.DATASET.SOURCE_DOMAINS),
        target_domains=list(cfg.DATASET.TARGET_DOMAINS),
        classes=cfg.DATASET.SUBSAMPLE_CLASSES,
        shots=cfg.DATASET.NUM_SHOTS,
        split=cfg.TEST.SPLIT,
        selection=_selection(cfg, trainer),
        seed=cfg.SEED,
        metrics=dict(trainer.last_results),
        history=list(getattr(trainer, "history", [])),
        diagnostics=dict(getattr(trainer, "diagnostics", {})),
        config_hash=config_hash(cfg),
        git_hash=git_hash(),
        versions=environment_versions(),
        seconds=seconds,
        peak_memory_mb=peak_memory_mb(trainer.device),
        started=started.isoformat(timespec="seconds"),
        finished=datetime.now().isoformat(timespec="seconds"),
        expected=expected_accuracy(cfg),
    )


def _selection(cfg: CN, trainer) -> str:
    """The rule that chose the weights; `best_val` where val images are test images is an oracle.

    So is what a trainer says it has `chosen_on_test`. What is reported of the val images themselves (TEST.SPLIT val)
    says so by its split, and a model that is tested on every image (DATASET.TEST_ALL) was chosen on others.
    """
    if getattr(trainer, "chosen_on_test", False):
        return "oracle"
    if cfg.TEST.FINAL_MODEL != "best_val":
        return cfg.TEST.FINAL_MODEL
    if getattr(trainer.dm.dataset, "val_is_test", False):
        return "oracle"
    if cfg.TEST.SPLIT == "val" or cfg.DATASET.TEST_ALL:
        return "best_val"
    val, test = ({item.impath for item in part or ()} for part in (trainer.dm.dataset.val, trainer.dm.dataset.test))
    return "oracle" if val & test else "best_val"


def _trainer_name(cfg: CN) -> str:
    return TRAINER_REGISTRY.get(cfg.TRAINER.NAME).__name__


def finished(cfg: CN) -> bool:
    """Whether OUTPUT_DIR holds a complete result of this very configuration, from the data that there are."""
    if not (Path(cfg.OUTPUT_DIR) / "result.json").is_file():
        return False
    try:
        same = read_result(cfg.OUTPUT_DIR)["config_hash"] == config_hash(cfg)
    except UserError:
        return False
    problem = data_problem(cfg.OUTPUT_DIR, cfg.DATASET.ROOT) if same else ""
    if problem:
        log.info(f"{cfg.OUTPUT_DIR} was {problem}")
    return same and not problem
