"""What a dataset without domains consists of: one reader per layout, all from lists of names; no image is stat-ed.

A reader returns the parts `train`, `val` and `test` (an absent one is empty) as lists of items whose paths are relative
to the image folder.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from dassl.data.datasets import Datum
from dassl.utils import read_json, write_json
from dassl.utils.errors import UserError, shorten

from ._entries import (
    Item,
    check_exists,
    plain_files,
    plain_names,
    plain_path,
    refuse_overlap,
    split_parts,
    text,
    whole,
)
from ._image_facts import LISTS, RENDERED, SPLIT, SYNSETS, VARIANT, ImageSet
from ._layout import find_folder, image_names, sub_folders, text_lines

log = logging.getLogger(f"promptshift.{__name__}")

LISTING = "promptshift_listing.json"  # names of ImageNet's images, so that its folders are listed once
UPSTREAM_LISTING = "preprocessed.pkl"
MINI_TRAIN, MINI_VAL = 32, 8  # of the images of a class of a rendered set; the rest is test

Parts = tuple[list[Item], list[Item], list[Item]]


def read_parts(facts: ImageSet, image_dir: Path, root: Path, val_is_test: bool = False) -> Parts:
    """Train, val and test items of a dataset whose images are in `image_dir`.

    Args:
        val_is_test: Whether the test images will validate, so that the val part is of no use and may be anything.

    Raises:
        UserError: A list is missing, malformed, names images that are not there or not in `image_dir`, or two parts
            share images.
    """
    train, val, test = _READERS[facts.layout](facts, image_dir, root)
    own = {} if val_is_test else {"val": val}
    refuse_overlap(facts.name, {"train": train} | own | {"test": test}, image_dir)
    if not test or not (train or facts.test_only):
        raise UserError(f"{facts.name}: no {'train' if test else 'test'} images under {image_dir}")
    return train, val, test


def list_files(facts: ImageSet, image_dir: Path, root: Path) -> list[Path]:
    """The files beside the images that say what belongs to which part and class, whether they are there or not."""
    folder = Path(root, facts.folder)
    if facts.layout == LISTS:
        names = ("variants.txt", *(f"images_variant_{part}.txt" for part in ("train", "val", "test")))
        return [image_dir.parent / name for name in names]
    found = [find_folder(folder, file.file) or folder / file.file for file in facts.files]
    if facts.layout == VARIANT:
        found.append(Path(root, "imagenet", facts.files[0].file))
    return [*found, folder / UPSTREAM_LISTING] if facts.layout == SYNSETS else found


def _read_split(facts: ImageSet, image_dir: Path, root: Path) -> Parts:
    """`split_zhou_*.json`: keys train, val, test with items [path, label, class name]."""
    folder, file = Path(root, facts.folder), facts.files[0].file
    path = find_folder(folder, file)
    if path is None:
        raise UserError(f"{facts.name}: no {file} under {folder}")
    parts = tuple(
        [_entry(entry, path) for entry in part] for part in split_parts(read_json(path), ("train", "val", "test"), path)
    )
    # where the image folder is the dataset's own, beside the split file, its sub-folders are what a link may stand for
    check_exists(image_dir, [item for part in parts for item in part], path, links_from=0 if facts.images else 1)
    return parts


def _entry(entry: object, path: Path) -> Item:
    try:
        name, label, classname = entry
        return Item(plain_path(name), whole(label), 0, text(classname))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not a split file with entries [path, label, class name]: {shorten(repr(entry))} "
            f"({shorten(error)})"
        ) from error


def _read_lists(facts: ImageSet, image_dir: Path, root: Path) -> Parts:
    """FGVC-Aircraft's own lists: `variants.txt` names the classes, `images_variant_<part>.txt` the images."""
    folder = image_dir.parent
    labels = {name: label for label, name in enumerate(text_lines(folder / "variants.txt"))}
    parts = []
    for path in (folder / f"images_variant_{part}.txt" for part in ("train", "val", "test")):
        lines = [line.partition(" ") for line in text_lines(path)]
        unknown = [name for _, _, name in lines if name not in labels]
        if unknown:
            raise UserError(f"{path}: {unknown[0]!r} is not in {folder / 'variants.txt'}")
        parts.append([_entry((f"{image}.jpg", labels[name], name), path) for image, _, name in lines])
        check_exists(image_dir, parts[-1], path)
    return tuple(parts)


def _read_synsets(facts: ImageSet, image_dir: Path, root: Path) -> Parts:
    """ImageNet: `train/<synset>/`, and `val/<synset>/` as the test set, from the kept listing where there is one."""
    names = _class_names_by_folder(facts, root)
    folder = Path(root, facts.folder)
    upstream = folder / UPSTREAM_LISTING
    if upstream.is_file():  # its order of files is what upstream's few-shot draws depend on
        listing = _read_upstream_listing(upstream)
    else:
        listing = _own_listing(folder / LISTING, image_dir)
    unknown = [name for part in listing.values() for name in part if name not in names]
    if unknown:
        raise UserError(f"{facts.name}: folder {unknown[0]} under {image_dir} is not in classnames.txt")
    labels = {name: label for label, name in enumerate(sorted(listing["train"]))}
    train, test = (
        [
            Item(f"{part}/{name}/{file}", labels[name], 0, names[name])
            for name, files in listing[part].items()
            if name in labels
            for file in files
        ]
        for part in ("train", "val")
    )
    return train, [], test


def _own_listing(path: Path, image_dir: Path) -> dict[str, dict[str, list[str]]]:
    """{"train" and "val": {synset: sorted file names}}; delete the file after changing the images."""
    if path.is_file():
        log.info(f"Listing of the images: {path}")
        return _checked_listing(read_json(path), path)
    listing = {
        part: {name: image_names(folder) for name, folder in sub_folders(image_dir / part).items()}
        for part in ("train", "val")
    }
    if all(any(part.values()) for part in listing.values()):  # half a dataset is not worth keeping a listing of
        try:
            write_json(listing, path)
        except OSError as error:
            log.info(f"Listing kept in memory: cannot write {path} ({error.strerror})")
    return listing


def _checked_listing(content: object, path: Path) -> dict[str, dict[str, list[str]]]:
    try:
        return {
            part: {"/".join(plain_files([name])): plain_files(files) for name, files in content[part].items()}
            for part in ("train", "val")
        }
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not a listing of ImageNet ({shorten(repr(error))}); delete it to list anew"
        ) from error


def _read_upstream_listing(path: Path) -> dict[str, dict[str, list[str]]]:
    """The same from upstream's `preprocessed.pkl`, in its order; its keys are train and test, test being `val`."""
    log.info(f"Listing of the images: {path}")
    from dassl.utils import load_pickle  # which needs torch, as few commands do

    content = load_pickle(path, {("dassl.data.datasets.base_dataset", "Datum"): Datum})
    try:
        listing = {}
        for part, key in (("train", "train"), ("val", "test")):
            folders = listing.setdefault(part, {})
            for item in content[key]:
                *_, synset, file = plain_names(item.impath, absolute=True)
                folders.setdefault(synset, []).append(file)
        return listing
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not a listing of ImageNet ({shorten(repr(error))}); delete it to list anew"
        ) from error


def _read_variant(facts: ImageSet, image_dir: Path, root: Path) -> Parts:
    """Test images by class folder: numbers (ImageNet-V2) or synsets; labels follow the folders that are there."""
    names = _class_names_by_folder(facts, root)
    folders = sub_folders(image_dir)
    if all(name.isdigit() for name in folders):
        by_number = dict(enumerate(names.values()))
        folders = {name: folders[name] for name in sorted(folders, key=int)}
        names = {name: by_number[int(name)] for name in folders if int(name) in by_number}
    unknown = [name for name in folders if name not in names]
    if unknown:
        raise UserError(f"{facts.name}: folder {image_dir / unknown[0]} is not in classnames.txt")
    test = [
        Item(f"{name}/{file}", label, 0, names[name])
        for label, (name, folder) in enumerate(folders.items())
        for file in image_names(folder)
    ]
    return [], [], test


def _class_names_by_folder(facts: ImageSet, root: Path) -> dict[str, str]:
    """`classnames.txt` of the dataset or of ImageNet: synset -> class name, in the order of the file."""
    file = facts.files[0].file
    path = find_folder(Path(root, facts.folder), file) or Path(root, "imagenet", file)
    return {synset: name for synset, _, name in (line.partition(" ") for line in text_lines(path))}


def _read_rendered(facts: ImageSet, image_dir: Path, root: Path) -> Parts:
    """Classes of a rendered set, label order as sorted: the first images are train, then val, then test."""
    train, val, test = [], [], []
    for label, (name, folder) in enumerate(sub_folders(image_dir).items()):
        items = [Item(f"{name}/{file}", label, 0, name) for file in image_names(folder)]
        first, last = (0, 0) if facts.test_only else (MINI_TRAIN, MINI_TRAIN + MINI_VAL)
        train += items[:first]
        val += items[first:last]
        test += items[last:]
    return train, val, test


def label_names(facts: ImageSet, items: Iterable[Item]) -> list[str]:
    """Class names in label order.

    Raises:
        UserError: A label has two names, or labels are missing.
    """
    named: dict[int, str] = {}
    for item in items:
        if named.setdefault(item.label, item.classname) != item.classname:
            raise UserError(
                f"{facts.name}: label {item.label} is called {named[item.label]!r} and "
                f"{item.classname!r} ({item.relpath})"
            )
    if sorted(named) != list(range(len(named))):
        raise UserError(f"{facts.name}: {len(named)} labels, the highest is {max(named)}; they must count from 0")
    return [named[label] for label in range(len(named))]


_READERS: dict[str, Callable[[ImageSet, Path, Path], Parts]] = {
    SPLIT: _read_split,
    LISTS: _read_lists,
    SYNSETS: _read_synsets,
    VARIANT: _read_variant,
    RENDERED: _read_rendered,
}
