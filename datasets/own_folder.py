"""Your own images as a dataset: sub-folders name domains and classes; three lines of YAML, no Python."""

import dataclasses
import os
import random
from pathlib import Path

from yacs.config import CfgNode

from dassl.data.datasets import DATASET_REGISTRY
from dassl.utils.errors import UserError

from ._facts import DomainSet, normalise
from ._layout import DOWNLOAD_FOLDER, Place, class_names, image_names, sub_folders
from ._splits import OWN_FOLDER, PUBLISHED_FOLDERS, SPLIT_SEED, Item
from .domain_sets import MultiDomainDataset

_NOT_IMAGES = (DOWNLOAD_FOLDER, OWN_FOLDER, *PUBLISHED_FOLDERS, "split_fewshot")  # written beside the images
_LAYOUTS = "<domain>/<class>/ or <class>/ with images"


@DATASET_REGISTRY.register()
class FolderDG(MultiDomainDataset):
    """The images in the folder DATASET.FOLDER below DATASET.ROOT (or an absolute one).

    Layout `<domain>/<class>/*.jpg`; `<class>/*.jpg` is one domain, called like the folder. Either may lie in a
    sub-folder `images`. Domains are asked for by their full names; train and val are made like those of the published
    datasets: each class 70/30, once, kept beside the images. A run that is tested on the domains that it trains on
    tests on one half of each class's val images and selects on the other. The folder and its domains may be links to
    other places; images and classes that are links stay within their domain.

    Raises:
        UserError: As `read_folder`, or as every multi-domain dataset.
    """

    @classmethod
    def facts_for(cls, options: CfgNode) -> DomainSet:
        """What is found in the folder."""
        return read_folder(options.ROOT, options.get("FOLDER", ""))[0]

    def within_domain(self, val: list[Item], cfg: CfgNode) -> tuple[list[Item], list[Item]]:
        """Two parts of the val images without a common one, by class and domain; test has the odd image.

        A run that reports its val images (TEST.SPLIT val, as the prompt labels of a domain are chosen) keeps them all.
        """
        if cfg.TEST.SPLIT == "val":
            return val, val
        test = set()
        for key in sorted({(item.domain, item.label) for item in val}):
            own = sorted(item.relpath for item in val if (item.domain, item.label) == key)
            random.Random(f"{SPLIT_SEED}/test/{key}").shuffle(own)
            test.update(own[: (len(own) + 1) // 2])
        return [item for item in val if item.relpath not in test], [item for item in val if item.relpath in test]

    def image_folders(self, place: Place) -> list[Path]:
        """The whole folder: a new sub-folder may be a domain."""
        return [place.dataset_dir]

    def obtain(self, facts: DomainSet, root: Path, used: list[str], options: CfgNode) -> Place:
        """The images are there already, or `read_folder` said what is wrong."""
        return read_folder(root, options.get("FOLDER", ""))[1]


def read_folder(root: str | Path, folder: str) -> tuple[DomainSet, Place]:
    """Domains and classes of a folder of images; labels follow the sorted class names.

    Raises:
        UserError: No folder is named, it is absent or in another layout, two domains have the same name but for case
            and punctuation, a domain has no image, or there are fewer than two classes.
    """
    if not folder:
        raise UserError(
            f"DATASET.FOLDER is empty; FolderDG takes the name of a folder below DATASET.ROOT that holds {_LAYOUTS}"
        )
    top = Path(os.path.abspath(os.path.expanduser(root)), folder)
    if not top.is_dir():
        raise UserError(f"DATASET.FOLDER: {folder!r} is not a folder below DATASET.ROOT: there is no {top}")
    image_dir = top / "images" if sub_folders(top / "images") else top
    place = _place(top, image_dir)
    names = tuple(sorted(place.domain_dirs))
    facts = DomainSet(
        f"{FolderDG.__name__}-{top.name}",
        (folder,),
        dict.fromkeys(names),
        names,
        0,
        folder_names={normalise(path.name): name for name, path in place.domain_dirs.items()},
        not_classes=_NOT_IMAGES,
    )
    _check_domains(facts, place)
    classes = class_names(facts, place)
    if len(classes) < 2:
        raise UserError(f"DATASET.FOLDER: {image_dir} holds one class ({classes[0]}); a classifier needs two or more")
    return dataclasses.replace(facts, n_classes=len(classes)), place


def _place(top: Path, image_dir: Path) -> Place:
    """Where the domains are: sub-folders with class folders, or the folder itself when its sub-folders have none."""
    below = {name: path for name, path in sub_folders(image_dir).items() if name not in _NOT_IMAGES}
    if not below:
        raise UserError(f"DATASET.FOLDER: {image_dir} has no sub-folders; expected {_LAYOUTS}")
    without = [name for name, path in below.items() if not sub_folders(path)]
    if len(without) == len(below):
        return Place(top, image_dir.parent, {top.name: image_dir})
    if without:
        others = ", ".join(name for name in below if name not in without)
        raise UserError(
            f"DATASET.FOLDER: {image_dir / without[0]} has no class folders, unlike {others}; every domain "
            "holds <class>/ with images"
        )
    return Place(top, image_dir, below)


def _check_domains(facts: DomainSet, place: Place) -> None:
    known: dict[str, str] = {}
    for name, path in place.domain_dirs.items():
        other = known.setdefault(normalise(name), name)
        if other != name:
            raise UserError(
                f"DATASET.FOLDER: the domains {other!r} and {name!r} of {place.image_dir} have the same "
                "name but for case and punctuation; rename one"
            )
        if not any(image_names(folder) for folder in sub_folders(path).values()):
            raise UserError(f"DATASET.FOLDER: domain {name} has no images under {path}")
