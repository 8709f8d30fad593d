"""Finding the images of a multi-domain dataset on disk. Folders are listed once; no file is stat-ed."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dassl.data.datasets.base_dataset import IMAGE_SUFFIXES
from dassl.utils.errors import UserError

from ._facts import RULE_70_30, DomainSet

DOWNLOAD_FOLDER = "download"  # archives that are not unpacked yet lie here, inside the dataset folder


@dataclass(frozen=True)
class Place:
    """Where a dataset lies: its folder, the folder that holds the domains, and every domain's folder."""

    dataset_dir: Path
    image_dir: Path
    domain_dirs: dict[str, Path]


@dataclass(frozen=True)
class Piece:
    """One sub-folder of a domain (or the domain itself, name ""), its split rule and its class folders."""

    name: str
    rule: str
    classes: dict[str, Path]


def find_place(facts: DomainSet, root: str | Path) -> Place | None:
    """The dataset below `root`, in any of the layouts in use, or None when no domain folder is there."""
    for dataset_dir in (Path(root, folder) for folder in facts.folders):
        for image_dir in _image_dirs(dataset_dir):
            found = {facts.domain_of_folder(name): path for name, path in sub_folders(image_dir).items()}
            found.pop(None, None)
            if found:
                return Place(dataset_dir, image_dir, found)
    return None


def dataset_folder(facts: DomainSet, root: str | Path) -> Path:
    """The dataset's folder below `root`: the first known spelling that exists, else the canonical one."""
    paths = [Path(root, folder) for folder in facts.folders]
    return next((path for path in paths if path.is_dir()), paths[0])


def _image_dirs(dataset_dir: Path) -> Iterator[Path]:
    """Folders that may hold the domains; archives differ in how deep they nest them."""
    for folder in (dataset_dir, *sub_folders(dataset_dir).values()):
        yield folder / "images"
        yield folder


def find_folder(folder: Path, name: str) -> Path | None:
    """The file or folder `name` below `folder`, or up to two folders deeper as archives nest it; None without one."""
    return next((place / name for place in _nested(folder, 2) if (place / name).exists()), None)


def _nested(folder: Path, depth: int) -> Iterator[Path]:
    """A folder and those below it, down to a depth, the nearest first."""
    places = [folder]
    for _ in range(depth + 1):
        yield from places
        places = [path for place in places for path in sub_folders(place).values()]


def sub_folders(folder: Path) -> dict[str, Path]:
    """Visible sub-folders by name, sorted; empty when `folder` does not exist.

    Raises:
        UserError: A name is not UTF-8.
    """
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    _refuse_unreadable(names, folder)
    return {name: folder / name for name in names}


def image_names(folder: Path) -> list[str]:
    """Names of the visible images of a folder, sorted; empty when it does not exist.

    Raises:
        UserError: A name is not UTF-8.
    """
    return sorted(image_links(folder))


def image_links(folder: Path) -> dict[str, bool]:
    """Name of every visible image of a folder -> whether it is a link; no image is stat-ed.

    Raises:
        UserError: A name is not UTF-8.
    """
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        links = {
            entry.name: entry.is_symlink()
            for entry in entries
            if entry.name.lower().endswith(IMAGE_SUFFIXES) and not entry.name.startswith(".")
        }
    _refuse_unreadable(links, folder)
    return links


def _refuse_unreadable(names: Iterable[str], folder: Path) -> None:
    """Refuse names that neither a split file nor a log can hold."""
    odd = next((name for name in names if not is_utf8(name)), None)
    if odd is not None:
        raise UserError(f"{folder}: the name {odd!r} is not UTF-8; rename it")


def is_utf8(name: str) -> bool:
    """Tell whether a name can be written; Python reads other bytes in a file name as lone surrogates."""
    if name.isascii():
        return True
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def text_lines(path: Path) -> list[str]:
    """Lines of a text file, stripped, without those that are empty.

    Raises:
        UserError: The file cannot be read or is not UTF-8.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing or no regular file; it belongs to the dataset")
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); it belongs to the dataset") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error})") from None


def domain_pieces(facts: DomainSet, domain_dir: Path, variant: str = "") -> list[Piece]:
    """The pieces of a domain folder with their class folders.

    A set whose domains come in parts (VLCS full/test, OfficeHome train/val) may also lie there as plain class
    folders, DomainBed's packing; it is then split 70/30.

    Raises:
        UserError: Some parts of the domain are there and others are missing.
    """
    rules = dict(facts.variants[variant] if variant else facts.pieces)
    folders = sub_folders(domain_dir)
    missing = [name for name in rules if name and name not in folders]
    if missing and len(missing) == len(rules):
        rules = {"": RULE_70_30}
    elif missing:
        raise UserError(f"{facts.name}: folder {domain_dir / missing[0]} is missing; expected {', '.join(rules)}")
    return [Piece(name, rule, _class_folders(facts, domain_dir / name)) for name, rule in rules.items()]


def _class_folders(facts: DomainSet, folder: Path) -> dict[str, Path]:
    """Class name -> folder; numbered folders get the names of the table."""
    numbered = {str(label): name for label, name in enumerate(facts.numbered_classes)}
    return {
        numbered.get(name, name): path for name, path in sub_folders(folder).items() if name not in facts.not_classes
    }


def class_names(facts: DomainSet, place: Place) -> list[str]:
    """Sorted class names over all domains that are there: labels do not depend on the domains in use."""
    return sorted(
        {
            name
            for folder in place.domain_dirs.values()
            for piece in domain_pieces(facts, folder)
            for name in piece.classes
        }
    )
