"""`result.json`: what one run leaves behind for tables, reports and later comparison."""

from __future__ import annotations

import math
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, TypedDict

from dassl.utils import read_json, write_json
from dassl.utils.errors import UserError, shorten, suggest
from promptshift.paths import checkout, is_installed

SCHEMA_VERSION = 1
FILE_NAME = "result.json"
CLASSES = ("all", "base", "new")
SELECTIONS = ("last_step", "best_val", "oracle")

# Distribution names on the package index, keyed by the name that the record uses.
_DISTRIBUTIONS = {
    "torch": "torch",
    "torchvision": "torchvision",
    "open_clip": "open_clip_torch",
    "numpy": "numpy",
    "promptshift": "promptshift",
}


class Record(TypedDict):
    """One finished run.

    Keys:
        schema_version: `SCHEMA_VERSION` of the writer; `write_result` adds it.
        status: always "complete"; a run that did not finish writes no record.
        trainer: registered trainer name, e.g. "CoOp".
        protocol: name of the protocol that asked for the run; "" for a run started by hand.
        dataset: the dataset's own name, "PACS" for SPG_PACS; "FolderDG-<folder>" for a folder of one's own.
        backbone: MODEL.BACKBONE.NAME, OpenAI's spelling ("RN50", "ViT-B/16").
        source_domains: domains trained on; empty for single-domain datasets.
        target_domains: domains tested on; empty for single-domain datasets.
        classes: which half of the label space was tested: "all", "base" or "new".
        shots: images per class for training, below 1 when all were used (DATASET.NUM_SHOTS).
        split: split that the metrics were measured on, e.g. "test".
        selection: rule that chose the evaluated weights: "last_step", "best_val" (validation images
            that are not test images) or "oracle" (chosen on the test images; never an honest number).
        seed: SEED; -1 when unseeded.
        metrics: numbers at full precision. "accuracy" (always there), "error_rate" and "macro_f1" in
            percent [0, 100], "correct" and "total" in images; trainers may add others.
        history: one entry per epoch, in order.
        diagnostics: whatever the trainer wishes to keep; plain JSON values.
        config_hash: 16 hex digits identifying the configuration, see `promptshift.runs.config`.
        git_hash: commit of the checkout, "-dirty" appended when files differ from it; None outside git.
        versions: library name to version, None where not installed.
        seconds: wall time of the run, at least 0.
        peak_memory_mb: see `peak_memory_mb`; at least 0.
        started, finished: ISO 8601 times.
        expected: the published accuracy in percent for this cell, None where none is published or papers disagree.
    """

    schema_version: int
    status: str
    trainer: str
    protocol: str
    dataset: str
    backbone: str
    source_domains: list[str]
    target_domains: list[str]
    classes: str
    shots: int
    split: str
    selection: str
    seed: int
    metrics: dict[str, float]
    history: list[Any]
    diagnostics: dict[str, Any]
    config_hash: str
    git_hash: str | None
    versions: dict[str, str | None]
    seconds: float
    peak_memory_mb: float
    started: str
    finished: str
    expected: float | None


_NUMBER = (int, float)
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("trainer", "protocol", "dataset", "backbone", "classes", "split", "selection"), (str,)),
    **dict.fromkeys(("config_hash", "started", "finished", "status"), (str,)),
    **dict.fromkeys(("source_domains", "target_domains", "history"), (list,)),
    **dict.fromkeys(("metrics", "diagnostics", "versions"), (dict,)),
    **dict.fromkeys(("shots", "seed", "schema_version"), (int,)),
    **dict.fromkeys(("seconds", "peak_memory_mb"), _NUMBER),
    "git_hash": (str, type(None)),
    "expected": (*_NUMBER, type(None)),
}
_CHOICES = {
    "status": ("complete",),
    "classes": CLASSES,
    "selection": SELECTIONS,
    "schema_version": (SCHEMA_VERSION,),
}


def write_result(output_dir: str | Path, record: Record) -> Path:
    """Write `output_dir/result.json` atomically and return its path.

    Raises:
        UserError: a field is missing, unknown, of the wrong type or out of range.
    """
    path = Path(output_dir) / FILE_NAME
    fields = {"schema_version": SCHEMA_VERSION, **record}
    _check(fields, path)
    write_json(fields, str(path))
    return path


def read_result(path: str | Path) -> Record:
    """Read one `result.json`, given itself or the folder that holds it.

    Raises:
        UserError: the file is missing or not JSON, a field is missing, unknown, of the wrong type or
            out of range, or the status is not "complete"; the line names the file and the field.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.exists():
        raise UserError(f"{path} does not exist: the run has not finished")
    try:
        fields = read_json(path)
    except UserError as error:
        raise UserError(f"{path} is not a readable result file ({error}); run the job again") from None
    if not isinstance(fields, dict):
        raise UserError(f"{path} holds a {type(fields).__name__} where a result (a JSON object) is expected")
    _check(fields, path)
    return fields


def _check(fields: dict[str, Any], path: Path) -> None:
    """Raise a UserError that names the first field of `fields` that does not fit the schema."""
    for name in fields:
        if name not in _TYPES:
            raise UserError(f"{path}: unknown field {_shown(name)}{suggest(shorten(name), list(_TYPES))}")
    for name, types in _TYPES.items():
        if name not in fields:
            raise UserError(f"{path}: field {name!r} is missing")
        value = fields[name]
        if not isinstance(value, types) or isinstance(value, bool):
            wanted = " or ".join("null" if kind is type(None) else kind.__name__ for kind in types)
            raise UserError(f"{path}: field {name!r} is {_shown(value)}, allowed: {wanted}")
        if name in _CHOICES and value not in _CHOICES[name]:
            allowed = ", ".join(map(str, _CHOICES[name]))
            raise UserError(f"{path}: field {name!r} is {_shown(value)}, allowed: {allowed}")
    for name in ("source_domains", "target_domains"):
        if not all(isinstance(domain, str) for domain in fields[name]):
            raise UserError(f"{path}: field {name!r} is {_shown(fields[name])}, allowed: a list of str")
    _check_numbers(fields, path)
    _check_history(fields["history"], path)


def _check_history(history: list[Any], path: Path) -> None:
    """Raises a UserError for epochs without a number, or whose accuracies are no finite numbers."""
    for entry in history:
        if not isinstance(entry, dict) or type(entry.get("epoch", 0)) is not int:
            raise UserError(f"{path}: field 'history' has the entry {_shown(entry)}, allowed: epochs with their number")
        for name, value in entry.items():
            if name.endswith("_accuracy") and not ("epoch" in entry and _is_finite(value)):
                raise UserError(f"{path}: field 'history.{shorten(name, 60)}' is {_shown(value)}, allowed: percent")


def _is_finite(value: Any) -> bool:
    return isinstance(value, _NUMBER) and not isinstance(value, bool) and math.isfinite(value)


def _check_numbers(fields: dict[str, Any], path: Path) -> None:
    """Raise a UserError for metrics that are absent, not finite numbers or not percentages."""
    metrics = fields["metrics"]
    if "accuracy" not in metrics:
        raise UserError(f"{path}: field 'metrics.accuracy' is missing")
    for name, value in metrics.items():
        if not _is_finite(value):
            shown = f"'metrics.{shorten(name, 60)}'"
            raise UserError(f"{path}: field {shown} is {_shown(value)}, allowed: a finite number")
    for name in ("accuracy", "error_rate", "macro_f1"):
        # A sum of float percentages may exceed 100 by a rounding error.
        if not -1e-6 <= metrics.get(name, 0.0) <= 100 + 1e-6:
            raise UserError(f"{path}: field 'metrics.{name}' is {metrics[name]!r}, allowed: percent, 0 to 100")
    if fields["expected"] is not None and not _is_finite(fields["expected"]):
        raise UserError(f"{path}: field 'expected' is {_shown(fields['expected'])}, allowed: null or a finite number")
    for name in ("seconds", "peak_memory_mb"):
        if not (math.isfinite(fields[name]) and fields[name] >= 0):
            raise UserError(f"{path}: field {name!r} is {fields[name]!r}, allowed: a finite number of at least 0")


def _shown(value: Any) -> str:
    """Return a value that may be of any size as a message quotes it."""
    return shorten(repr(value), 80)


def environment_versions() -> dict[str, str | None]:
    """Return the versions of Python and of the libraries that numbers depend on, None where not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name, distribution in _DISTRIBUTIONS.items():
        try:
            versions[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def git_hash() -> str | None:
    """Return the commit of the checkout ("-dirty" appended when tracked files differ), None outside git."""
    if is_installed():  # a repository around the installation says nothing of it
        return None
    command = ["git", "-C", str(checkout()), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def peak_memory_mb(device: Any = "cpu") -> float:
    """Return the most memory held so far, in MiB.

    Args:
        device: what the run computed on, anything that `torch.device` takes. On CUDA the number is the
            most that PyTorch had allocated there; otherwise it is the largest resident size of this process.
    """
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # getrusage(2): kilobytes on Linux, bytes on macOS.
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
