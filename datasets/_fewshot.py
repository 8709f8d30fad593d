"""Few-shot sets: k images per class, drawn as upstream draws them and kept as JSON beside the images."""

import logging
import os
import random
from collections.abc import Sequence
from pathlib import Path

from dassl.data.datasets import DatasetBase, Datum
from dassl.utils import read_json, write_json
from dassl.utils.errors import UserError, shorten

from ._entries import plain_names

log = logging.getLogger(f"promptshift.{__name__}")

MAX_VAL_SHOTS = 4
FOLDER = "split_fewshot"  # beside the images


def fewshot_files(folder: Path, shots: int, seed: int) -> list[Path]:
    """The files that may hold a few-shot set, ours and upstream's; none where all images are used."""
    path = folder / f"shot_{shots}-seed_{seed}.json"
    return [path, path.with_suffix(".pkl")] if shots > 0 else []


def fewshot_sets(
    dataset: DatasetBase, train: list[Datum], val: list[Datum], shots: int, seed: int, folder: Path, base: Path
) -> tuple[list[Datum], list[Datum]]:
    """`shots` images per class of `train` and min(shots, 4) of `val`.

    The set is a function of (seed, train, val): Python's generator is seeded for the draw and put back afterwards, so
    a run that finds the cached file goes on exactly like the one that wrote it.

    Args:
        dataset: Provides `generate_fewshot_dataset`, whose draws are upstream's.
        seed: Run seed; a negative one draws from the current state.
        folder: Where `shot_{shots}-seed_{seed}.json` (or upstream's `.pkl`) is or will be.
        base: Folder to which the paths of the cached file are relative.

    Raises:
        UserError: A cached file is unreadable or names images that are in neither set.
    """
    path, pickle = fewshot_files(folder, shots, seed)
    for candidate, read in ((path, _read_json_cache), (pickle, _read_pickle_cache)):
        if candidate.is_file():
            log.info(f"Loading few-shot data from {candidate}")
            sets = [
                _match(names, data, base, candidate) for names, data in zip(read(candidate), (train, val), strict=True)
            ]
            break
    else:
        candidate, sets = None, _draw(dataset, train, val, shots, seed)
    if candidate != path:
        _write(path, sets, base)
    _say_where_short(dataset, sets[0], shots)
    return sets[0], sets[1]


def _say_where_short(dataset: DatasetBase, train: list[Datum], shots: int) -> None:
    """Print one line when classes have fewer training images than were asked for."""
    short = {
        items[0].classname: len(items) for items in dataset.split_dataset_by_label(train).values() if len(items) < shots
    }
    if short:
        named = ", ".join(f"{name} ({count})" for name, count in list(short.items())[:5])
        more = f" and {len(short) - 5} more" if len(short) > 5 else ""
        log.info(f"DATASET.NUM_SHOTS: {shots}: fewer shots than asked for {named}{more}, which have no more images")


def _draw(dataset: DatasetBase, train: list[Datum], val: list[Datum], shots: int, seed: int) -> list[list[Datum]]:
    state = random.getstate()
    if seed >= 0:
        random.seed(seed)
    sets = [
        dataset.generate_fewshot_dataset(data, num_shots=count) if data else []
        for data, count in ((train, shots), (val, min(shots, MAX_VAL_SHOTS)))
    ]
    if seed >= 0:
        random.setstate(state)
    return sets


def _write(path: Path, sets: list[list[Datum]], base: Path) -> None:
    content = {
        part: [[_below(item, base), item.label, item.domain, item.classname] for item in data]
        for part, data in zip(("train", "val"), sets, strict=True)
    }
    try:
        write_json(content, str(path))
    except OSError as error:
        log.info(f"Few-shot data kept in memory: cannot write {path} ({error.strerror})")


def _below(item: Datum, base: Path) -> str:
    """An image's path below `base`, with forward slashes (text alone: ImageNet has a million of them)."""
    return item.impath.removeprefix(f"{base}{os.sep}").replace(os.sep, "/")


def _match(names: Sequence[object], data: list[Datum], base: Path, path: Path) -> list[Datum]:
    """The images of `data` whose path below `base` ends a cached path, in cached order; nothing else can be named."""
    known = {_below(item, base): item for item in data}
    found: list[str] = []
    for name in names:
        try:
            parts = plain_names(name, absolute=True)
        except ValueError as error:
            raise UserError(f"{path}: {error}; delete this file to draw anew") from None
        key = next((end for end in ("/".join(parts[start:]) for start in range(len(parts))) if end in known), None)
        if key is None:
            raise UserError(
                f"{path} names {shorten(name)}, which is not in the current split; delete this file to draw anew"
            )
        found.append(key)
    again = len(found) - len(set(found))
    if again:
        log.info(f"{path} names {again:,} images once more; each counts as often as it is named")
    return [known[key] for key in found]


def _read_json_cache(path: Path) -> list[list[str]]:
    try:
        content = read_json(str(path))
        return [[entry[0] for entry in content[part]] for part in ("train", "val")]
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path}: not a few-shot file with the keys train and val ({shorten(repr(error))})") from error


def _read_pickle_cache(path: Path) -> list[list[str]]:
    from dassl.utils import load_pickle  # which needs torch, as few commands do

    content = load_pickle(path, {("dassl.data.datasets.base_dataset", "Datum"): Datum})
    try:
        return [[item.impath for item in content.get(part, [])] for part in ("train", "val")]  # ImageNet's: no val
    except (AttributeError, TypeError) as error:
        raise UserError(
            f"{path}: not a few-shot file of Dassl ({shorten(repr(error))}); delete it to draw anew"
        ) from error
