"""Datasets without domains: CoOp's eleven (arXiv 2109.01134), the four ImageNet variants, and the rendered MiniB2N.

One class serves the whole table of `_image_facts.py`. The few-shot draws are upstream's: train, then val, of all
classes; then DATASET.SUBSAMPLE_CLASSES keeps the base or the new half, relabelled from 0 (arXiv 2203.05557).
"""

import logging
import os
import random
from pathlib import Path

from yacs.config import CfgNode

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.data.datasets.base_dataset import DataFiles
from dassl.utils.errors import UserError, suggest

from ._complete import named_parts, refuse_partial, shown_name
from ._entries import Item
from ._fewshot import FOLDER as FEWSHOT_FOLDER
from ._fewshot import MAX_VAL_SHOTS, fewshot_files, fewshot_sets
from ._image_facts import IMAGE_SETS, VAL_IS_TEST, ImageSet
from ._image_readers import label_names, list_files, read_parts
from ._layout import DOWNLOAD_FOLDER
from ._obtain import missing_images_help, obtain_images
from ._subsample import relabel, select_labels

log = logging.getLogger(f"promptshift.{__name__}")


class ImageSetDataset(DatasetBase):
    """A member of the table of datasets without domains.

    Reads DATASET.{ROOT, NAME, NUM_SHOTS, VARIANT, DOWNLOAD, SUBSAMPLE_CLASSES, PARTIAL} and SEED. `val` and `test`
    share no image; DATASET.VARIANT "val_is_test" validates on the test images instead, as the released PromptKD and DPC
    do, and `val_is_test` says so. ImageNet has no val images of its own: with few shots, `val` is four more training
    images per class. ImageNet's variants have test images alone (`test_only`), which then stand in for `train_x` too.

    Raises:
        UserError: A value of the configuration is not allowed, or the images or lists are not as they should be.
    """

    facts: ImageSet

    def __init__(self, cfg: CfgNode) -> None:
        options, facts = cfg.DATASET, self.facts
        _check_options(facts, options)
        self.name, self.domains = shown_name(facts.name, options.get("PARTIAL")), ()
        self.test_only = facts.test_only
        self.val_is_test = options.get("VARIANT", "") == VAL_IS_TEST
        root = Path(os.path.abspath(os.path.expanduser(options.ROOT)))
        folder = root / facts.folder
        image_dir = obtain_images(facts, root, options.get("DOWNLOAD", True))
        self.dataset_dir, self.image_dir = str(folder), str(image_dir)
        try:
            parts = read_parts(facts, image_dir, root, self.val_is_test)
        except UserError as error:
            raise UserError(f"{error}; {missing_images_help(facts, folder)}") from error
        counts = {name: len(items) for name, items in named_parts(facts, parts).items()}
        refuse_partial(facts, counts, image_dir, options.get("PARTIAL"))
        names = label_names(facts, [item for part in parts for item in part])
        if len(names) != facts.n_classes:
            log.info(f"{facts.name} has {len(names)} classes under {image_dir}, {facts.n_classes} expected")
        train, val, test = ([_datum(item, image_dir) for item in part] for part in parts)
        if options.NUM_SHOTS > 0 and not facts.test_only:
            train, val = self._few_shots(train, val, options.NUM_SHOTS, cfg.SEED, folder, image_dir)
        few = fewshot_files(folder / FEWSHOT_FOLDER, 0 if facts.test_only else options.NUM_SHOTS, cfg.SEED)
        self._files = [*list_files(facts, image_dir, root), *few]
        val = test if self.val_is_test else val
        kept = select_labels(range(len(names)), options.get("SUBSAMPLE_CLASSES", "all"))
        self._label_names = [names[label] for label in kept]
        train, val, test = (relabel(data, kept) for data in (train, val, test))
        super().__init__(train_x=test if facts.test_only else train, val=val, test=test)

    def data_files(self) -> DataFiles:
        """The images and the lists that say what they are; a rendered set is known by the file that says the latter."""
        if self.facts.rendered:
            return DataFiles((), (os.path.join(self.dataset_dir, "world.json"), *map(str, self._files)))
        return DataFiles((self.image_dir,), tuple(map(str, self._files)), (DOWNLOAD_FOLDER, FEWSHOT_FOLDER))

    @classmethod
    def facts_for(cls, options: CfgNode) -> ImageSet:
        """Facts of the dataset that a DATASET block names."""
        return cls.facts

    def _few_shots(
        self, train: list[Datum], val: list[Datum], shots: int, seed: int, folder: Path, image_dir: Path
    ) -> tuple[list[Datum], list[Datum]]:
        few, few_val = fewshot_sets(self, train, val, shots, seed, folder / FEWSHOT_FOLDER, image_dir)
        return few, few_val or _held_out(self, train, few, min(shots, MAX_VAL_SHOTS), seed)

    def get_num_classes(self, data_source: list[Datum]) -> int:
        """Number of classes, also of those without an image in `data_source`."""
        return len(self._label_names)

    def get_lab2cname(self, data_source: list[Datum]) -> tuple[dict[int, str], list[str]]:
        """Label -> class name and the names in label order, also of classes without an image in `data_source`."""
        return dict(enumerate(self._label_names)), list(self._label_names)


def _held_out(dataset: DatasetBase, train: list[Datum], taken: list[Datum], count: int, seed: int) -> list[Datum]:
    """`count` images per class of `train` that are not among `taken`; drawn apart from the run's random stream."""
    used = {item.impath for item in taken}
    rest = dataset.split_dataset_by_label([item for item in train if item.impath not in used])
    draw = random.Random(f"val/{seed}")
    return [item for items in rest.values() for item in draw.sample(items, min(count, len(items)))]


def _check_options(facts: ImageSet, options: CfgNode) -> None:
    if not options.ROOT:
        raise UserError(
            f"DATASET.ROOT is empty; give the folder that holds (or will hold) the images of {facts.name} with --root"
        )
    for key in ("SOURCE_DOMAINS", "TARGET_DOMAINS"):
        if options[key]:
            raise UserError(f"DATASET.{key}: {', '.join(map(str, options[key]))}; {facts.name} has no domains")
    if options.get("TEST_ALL", False):
        raise UserError(f"DATASET.TEST_ALL: True is for datasets with domains; {facts.name} has its own test images")
    variant, allowed = options.get("VARIANT", ""), ("", VAL_IS_TEST)
    if variant not in allowed:
        raise UserError(
            f"DATASET.VARIANT: {variant!r} is not a variant of {facts.name}; allowed: "
            f"{', '.join(map(repr, allowed))}{suggest(variant, allowed)}"
        )


def _datum(item: Item, image_dir: Path) -> Datum:
    return Datum(impath=os.path.join(image_dir, item.relpath), label=item.label, classname=item.classname)


def _register(facts: ImageSet) -> None:
    body = {"facts": facts, "__doc__": f"{facts.name}: {facts.n_classes} classes.", "__module__": __name__}
    DATASET_REGISTRY.register(aliases=facts.aliases)(type(facts.name, (ImageSetDataset,), body))


for _facts in IMAGE_SETS.values():
    _register(_facts)
