"""What may stand in a split file, an image list or a few-shot cache: plain paths, whole labels, no image in two parts.

Such files come from other people. Whatever they name, only images of the dataset's own folder are read, and where it
has domains, only those of the domain that the file is about.
"""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dassl.utils.errors import UserError, shorten

from ._layout import image_links, is_utf8

log = logging.getLogger(f"promptshift.{__name__}")

_DRIVE = re.compile("[A-Za-z]:")
_SEPARATOR = re.compile(r"[/\\\0]")


class Item(NamedTuple):
    """One image of a split; `relpath` is relative to the image folder, with forward slashes."""

    relpath: str
    label: int
    domain: int
    classname: str


def plain_names(path: object, absolute: bool = False) -> list[str]:
    """Split the path of an image into its folders and its file; forward and backward slashes separate them.

    Args:
        path: As a file has it.
        absolute: Whether it may begin at a root or a drive, because the caller looks for a folder that it knows and
            drops what precedes it.

    Raises:
        ValueError: It is no text, or leads upwards, or begins at a root or a drive, or no file can be called so.
    """
    if not isinstance(path, str):
        raise ValueError(f"{shorten(repr(path), 60)} is no path")
    first, *rest = path.replace("\\", "/").split("/")
    if not absolute and (not first or _DRIVE.match(first)):
        raise ValueError(f"{shorten(repr(path))} does not begin in the image folder")
    names = [name for name in (first, *rest) if name not in ("", ".")]
    if not names or ".." in names or "\0" in path or not is_utf8(path):
        raise ValueError(f"{shorten(repr(path))} leads out of the image folder or is no path")
    return names


def plain_path(path: object) -> str:
    """Return the path of an image below the image folder with forward slashes.

    Raises:
        ValueError: As `plain_names`.
    """
    return "/".join(plain_names(path))


def plain_files(names: object) -> list[str]:
    """Return the file names of one folder; ImageNet has a million, so each is looked at with little effort.

    Raises:
        ValueError: They are no list of names, or one of them leads to another folder.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{shorten(repr(names), 60)} is no list of file names")
    odd = next((name for name in names if name in ("", ".", "..") or _SEPARATOR.search(name)), None)
    if odd is not None or not is_utf8("".join(names)):
        raise ValueError(f"{shorten(repr(odd or names))} is no name of a file")
    return names


def whole(value: object) -> int:
    """Return a label or a domain index, which a list of images has as text.

    Raises:
        ValueError: It is not a whole number from 0.
    """
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        value = int(value)
    if type(value) is not int or not 0 <= value < 10**9:
        raise ValueError(f"{shorten(repr(value), 60)} is not a whole number from 0")
    return value


def text(value: object) -> str:
    """Return the name of a class.

    Raises:
        ValueError: It is no text, empty, or not to be written.
    """
    if not isinstance(value, str) or not value.strip() or not is_utf8(value):
        raise ValueError(f"{shorten(repr(value), 60)} is no class name")
    return value


def split_parts(content: object, parts: tuple[str, ...], path: Path) -> list[list]:
    """Return the lists of entries under the keys `parts` of what a JSON file holds.

    Raises:
        UserError: There are no such lists.
    """
    if isinstance(content, dict) and all(isinstance(content.get(part), list) for part in parts):
        return [content[part] for part in parts]
    raise UserError(f"{path}: not a split file with lists under the keys {', '.join(parts)}")


def refuse_overlap(name: str, parts: Mapping[str, list[Item]], source: object) -> None:
    """Refuse images that are in two parts; print a line about images that a part names more than once.

    Raises:
        UserError: A part shares images with another one.
    """
    owner: dict[str, str] = {}
    for part, items in parts.items():
        counts = Counter(item.relpath for item in items)
        shared = defaultdict(list)
        for relpath in counts:
            if owner.setdefault(relpath, part) != part:
                shared[owner[relpath]].append(relpath)
        for other, paths in shared.items():
            raise UserError(
                f"{name}: {len(paths):,} images are in {other} and in {part}, e.g. {min(paths)} "
                f"({source}); the split file must keep them apart"
            )
        twice = [relpath for relpath, count in counts.items() if count > 1]
        if twice:
            log.info(
                f"{name}: {source} names {len(twice):,} images more than once in {part}, e.g. {min(twice)}; each "
                "counts as often as it is named"
            )


def check_exists(image_dir: Path, items: list[Item], path: Path, links_from: int = 0) -> set[str]:
    """Images in the folders of a split that it does not name; each folder is listed once and no file is stat-ed.

    Args:
        image_dir: The image folder.
        items: The entries of the split.
        path: The split file.
        links_from: How deep below the image folder links begin to be looked at. 0: nothing in it may lead out of it.
            1: its sub-folders may be links to other places (a domain on another disk), which nothing in them leaves.

    Raises:
        UserError: The split names images that are not there, or links that leave the folder.
    """
    folders = defaultdict(set)
    for item in items:
        folder, _, name = item.relpath.rpartition("/")
        folders[folder].add(name)
    missing, outside, unlisted = [], [], set()
    for folder, names in folders.items():
        present = image_links(image_dir / folder)
        missing += [f"{folder}/{name}" for name in sorted(names - present.keys())]
        unlisted.update(f"{folder}/{name}" for name in present.keys() - names)
        outside += _outside(image_dir, folder, sorted(names & present.keys()), present, links_from)
    if missing:
        raise UserError(
            f"{path} names {len(missing):,} of {len(items):,} images that are not under "
            f"{image_dir}, the first is {missing[0]}; restore them or delete the split file"
        )
    if outside:
        raise UserError(
            f"{path} names {len(outside):,} of {len(items):,} images that links lead out of {image_dir} or "
            f"out of their domain, the first is {outside[0]}; put the files themselves there"
        )
    return unlisted


def _outside(image_dir: Path, folder: str, names: list[str], is_link: Mapping[str, bool], links_from: int) -> list[str]:
    """The images of a folder that lie elsewhere; one path is resolved per folder, and one per link."""
    top = image_dir.joinpath(*folder.split("/")[:links_from]).resolve()
    if not (image_dir / folder).resolve().is_relative_to(top):
        return [f"{folder}/{name}" for name in names]
    return [
        f"{folder}/{name}"
        for name in names
        if is_link[name] and not _resolved(image_dir / folder / name).is_relative_to(top)
    ]


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a link to itself
        return Path("/")
