"""Train/val splits of a domain: published files, image lists, or our own deterministic split.

A split file is upstream's JSON: keys train, val, test with items [relative path, label, domain index, class name].
The published files (`spg_coop_splits/`, `dpspg_coop_splits/`) are used when they are there. Otherwise a split by the
same rules is made once, with a fixed seed, and written to `promptshift_splits/` beside the images.
"""

import functools
import logging
import random
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dassl.utils import read_json, write_json
from dassl.utils.errors import UserError, shorten

from ._entries import Item, check_exists, plain_names, plain_path, refuse_overlap, split_parts, text, whole
from ._facts import RULE_3_PERCENT, RULE_70_30, RULE_TRAIN, RULE_VAL, DomainSet
from ._layout import Place, class_names, domain_pieces, image_names, sub_folders, text_lines

log = logging.getLogger(f"promptshift.{__name__}")

PUBLISHED_FOLDERS = ("spg_coop_splits", "dpspg_coop_splits")
OWN_FOLDER = "promptshift_splits"
SPLIT_SEED = 0  # of our own splits; a run's seed has no part in it


class Split(NamedTuple):
    """The images of one domain, and the file that says so ("" when it could not be written)."""

    train: list[Item]
    val: list[Item]
    file: str


def load_split(facts: DomainSet, place: Place, domain: str, variant: str = "") -> Split:
    """The split of one domain, from the first source that exists; one printed line names it.

    Raises:
        UserError: A split file is malformed or names images that are not there.
    """
    split = read_split(facts, place, domain, variant) or _make_and_write(facts, place, domain, variant)
    source = split.file or "computed in memory, the folder is read-only"
    log.info(f"Split of {facts.name}/{domain}: {source} (train {len(split.train):,}, val {len(split.val):,})")
    return split


def read_split(facts: DomainSet, place: Place, domain: str, variant: str = "") -> Split | None:
    """The split of one domain as its file or its lists have it; None when there is no split file yet.

    Raises:
        UserError: As `load_split`.
    """
    if facts.lists:
        return _read_lists(facts, place, domain)
    path = split_file(facts, place, domain, variant)
    return _read_file(facts, place, domain, path) if path.is_file() else None


def split_file(facts: DomainSet, place: Place, domain: str, variant: str = "") -> Path:
    """The published split file of a domain if it exists, else the path of our own."""
    name = f"{facts.code_of(domain)}_train_val_split.json"
    own = place.dataset_dir / OWN_FOLDER / variant / name
    return own if variant else find_beside(place, PUBLISHED_FOLDERS, name) or own


def split_files(facts: DomainSet, place: Place, domain: str, variant: str = "") -> list[Path]:
    """Every file that may say how a domain is split, whether it is there or not."""
    if facts.lists:
        names = [f"{domain}_{part}.txt" for part in ("train", "test")]
        return [find_beside(place, (facts.lists,), name) or place.dataset_dir / facts.lists / name for name in names]
    name = f"{facts.code_of(domain)}_train_val_split.json"
    own, published = place.dataset_dir / OWN_FOLDER / variant / name, [] if variant else PUBLISHED_FOLDERS
    bases = dict.fromkeys((place.dataset_dir, place.image_dir))
    found = [split_file(facts, place, domain, variant)]
    return list(dict.fromkeys([*found, own, *(base / folder / name for base in bases for folder in published)]))


def find_beside(place: Place, folders: tuple[str, ...], name: str) -> Path | None:
    """A file in one of the folders beside the images, or one level deeper as archives may unpack it."""
    for base in dict.fromkeys((place.dataset_dir, place.image_dir, place.image_dir.parent)):
        for folder in (base / folder for folder in folders):
            for candidate in (folder, *sub_folders(folder).values()):
                if (candidate / name).is_file():
                    return candidate / name
    return None


def _make_and_write(facts: DomainSet, place: Place, domain: str, variant: str) -> Split:
    path = split_file(facts, place, domain, variant)
    train, val = make_split(facts, place, domain, variant)
    if not train + val:  # not written: a split without images would outlive the day the images arrive
        raise UserError(f"{facts.name}: domain {domain} has no images under {place.domain_dirs[domain]}")
    _check_images(facts, place, domain, train + val, place.domain_dirs[domain])
    try:
        write_json({"train": train, "val": val, "test": val}, str(path))
    except OSError:
        return Split(train, val, "")
    return Split(train, val, str(path))


def make_split(facts: DomainSet, place: Place, domain: str, variant: str = "") -> tuple[list[Item], list[Item]]:
    """Split every class of a domain by the rule of its piece; a pure function of the sorted file names.

    Raises:
        UserError: No domain has a class folder.
    """
    labels = {name: label for label, name in enumerate(class_names(facts, place))}
    if not labels:
        raise UserError(f"{facts.name}: no class folders under {place.image_dir}")
    folder, index = place.domain_dirs[domain], facts.domains.index(domain)
    train, val = [], []
    for piece in domain_pieces(facts, folder, variant):
        for name, class_dir in piece.classes.items():
            files = _without_corrupt(facts, domain, name, image_names(class_dir))
            random.Random(f"{SPLIT_SEED}/{facts.name}/{domain}/{piece.name}/{name}").shuffle(files)
            first, last = split_bounds(piece.rule, len(files))
            prefix = class_dir.relative_to(place.image_dir).as_posix()
            items = [Item(f"{prefix}/{file}", labels[name], index, name) for file in files]
            train += items[:first]
            val += items[first:last]
    return train, val


def split_bounds(rule: str, count: int) -> tuple[int, int]:
    """End of train and end of val among `count` shuffled images."""
    return {
        RULE_70_30: (round(0.7 * count), count),
        RULE_3_PERCENT: (-(-2 * count // 100), -(-2 * count // 100) + -(-count // 100)),
        RULE_TRAIN: (count, count),
        RULE_VAL: (0, count),
    }[rule]


def _without_corrupt(facts: DomainSet, domain: str, classname: str, files: list[str]) -> list[str]:
    bad = [file for file in files if f"{domain}/{classname}/{file}" in facts.corrupt]
    for file in bad:
        log.info(f"Skipping {domain}/{classname}/{file}: known to be corrupt")
    return [file for file in files if file not in bad]


def _read_file(facts: DomainSet, place: Place, domain: str, path: Path) -> Split:
    """Read and check a split file of one domain."""
    parse = _parser(facts, place, domain, path)
    parts = split_parts(read_json(str(path)), ("train", "val"), path)
    train, val = ([parse(entry) for entry in part] for part in parts)
    corrupt = {
        f"{place.domain_dirs[domain].name}/{rest}"
        for first, _, rest in (name.partition("/") for name in facts.corrupt)
        if first == domain
    }
    train, val = ([item for item in part if item.relpath not in corrupt] for part in (train, val))
    refuse_overlap(f"{facts.name}/{domain}", {"train": train, "val": val}, path)
    unlisted = _check_images(facts, place, domain, train + val, path) - corrupt
    unlisted |= _of_other_classes(facts, place, domain, train + val)
    if unlisted and OWN_FOLDER in path.parts and RULE_3_PERCENT not in dict(facts.pieces).values():
        log.info(f"{facts.name}/{domain}: {len(unlisted):,} images are not in {path}; delete it to split anew")
    return Split(train, val, str(path))


def _of_other_classes(facts: DomainSet, place: Place, domain: str, items: list[Item]) -> set[str]:
    """Images of a domain in class folders from which no item is."""
    named = {item.relpath.rpartition("/")[0] for item in items}
    pieces = domain_pieces(facts, place.domain_dirs[domain])
    folders = {
        folder.relative_to(place.image_dir).as_posix(): folder for piece in pieces for folder in piece.classes.values()
    }
    return {f"{name}/{file}" for name, folder in folders.items() if name not in named for file in image_names(folder)}


def _check_images(facts: DomainSet, place: Place, domain: str, items: list[Item], path: Path) -> set[str]:
    """As `check_exists`; neither links in the domain's folder nor the folder itself may lead into another domain."""
    own = place.domain_dirs[domain].resolve()
    for other, folder in place.domain_dirs.items():
        if other != domain and (folder.resolve().is_relative_to(own) or own.is_relative_to(folder.resolve())):
            raise UserError(
                f"{facts.name}: the folders of {domain} and {other} are links to one another's images "
                f"({own}, {folder.resolve()}); each domain needs its own"
            )
    return check_exists(place.image_dir, items, path, links_from=1)


def _parser(facts: DomainSet, place: Place, domain: str, path: Path) -> Callable[[object], Item]:
    """Reader of the entries of a split file; whatever precedes the domain folder in a path is ignored."""
    domain_index = facts.domains.index(domain)

    @functools.cache  # a path's folder is looked at once, not once per image
    def below_images(folder: str) -> str:
        names = plain_names(folder, absolute=True)
        at = [facts.domain_of_folder(name) for name in names].index(domain)
        return "/".join((place.domain_dirs[domain].name, *names[at + 1 :]))

    def parse(entry: object) -> Item:
        try:
            relpath, label, index, classname = entry
            folder, _, name = relpath.replace("\\", "/").rpartition("/")
            item = Item(f"{below_images(folder)}/{plain_path(name)}", whole(label), whole(index), text(classname))
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}: entry {shorten(repr(entry))} is not [path below a folder {domain!r}, label, "
                f"domain index, class name] ({shorten(error)})"
            ) from error
        if item.domain != domain_index:
            raise UserError(
                f"{path}: entry {shorten(repr(entry))} has domain index {item.domain}; {domain} of "
                f"{facts.name} is {domain_index}"
            )
        return item

    return parse


def _read_lists(facts: DomainSet, place: Place, domain: str) -> Split:
    """Read `{domain}_{train,test}.txt`: lines of a path below the image folder and a label; test serves as val."""
    parts, index = [], facts.domains.index(domain)
    for name in (f"{domain}_train.txt", f"{domain}_test.txt"):
        path = find_beside(place, (facts.lists,), name)
        if path is None:
            raise UserError(
                f"{facts.name}: {place.dataset_dir / facts.lists / name} is missing; get the lists from "
                f"{facts.split_archive.link} and unpack them there"
            )
        parse = _parser(facts, place, domain, path)
        lines = (line.rsplit(maxsplit=1) for line in text_lines(path))
        parts.append([parse((*line, index, PurePosixPath(line[0]).parent.name)) for line in lines])
        _check_images(facts, place, domain, parts[-1], path)
    source = path.parent / f"{domain}_{{train,test}}.txt"
    refuse_overlap(f"{facts.name}/{domain}", dict(zip(("train", "val"), parts)), source)
    return Split(*parts, str(source))
