"""Multi-domain datasets for domain generalization: PACS, VLCS, OfficeHome, TerraIncognita, DomainNet and mini sets.

One class serves the whole table of `_facts.py`. Protocol of SPG (arXiv 2404.19286) and DPSPG (arXiv 2505.18770):
train and val are the train and val splits of the source domains, test is every image of the target domains.
"""

import logging
import os
from pathlib import Path

from yacs.config import CfgNode

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.data.datasets.base_dataset import DataFiles
from dassl.utils.errors import UserError, suggest

from ._complete import count_domains, refuse_partial, shown_name
from ._facts import DOMAIN_SETS, DomainSet, find_domain_set, resolve_domains
from ._fewshot import FOLDER as FEWSHOT_FOLDER
from ._fewshot import fewshot_files, fewshot_sets
from ._layout import DOWNLOAD_FOLDER, Place, class_names
from ._obtain import obtain
from ._splits import OWN_FOLDER, PUBLISHED_FOLDERS, Item, Split, load_split, split_files
from ._subsample import relabel, select_labels

log = logging.getLogger(f"promptshift.{__name__}")

__all__ = ["MultiDomainDataset", "choose_domains", "domain_sets", "find_domain_set"]

domain_sets: dict[str, DomainSet] = DOMAIN_SETS


class MultiDomainDataset(DatasetBase):
    """A member of the table of multi-domain datasets.

    Reads DATASET.{ROOT, NAME, SOURCE_DOMAINS, TARGET_DOMAINS, NUM_SHOTS, VARIANT, DOWNLOAD, SUBSAMPLE_CLASSES,
    TEST_ALL, PARTIAL} and SEED. `Datum.domain` is the index in the sorted list of all domains of the dataset; labels do
    not depend on the domains in use; `Datum.classname` is the name of the class folder.

    Raises:
        UserError: A value of the configuration is not allowed, or the images or a split are not as they should be.
    """

    facts: DomainSet

    def __init__(self, cfg: CfgNode) -> None:
        options = cfg.DATASET
        if not options.ROOT:
            raise UserError(
                f"DATASET.ROOT is empty; give the folder that holds (or will hold) the images of "
                f"{options.NAME} with --root"
            )
        facts = self.facts = self.facts_for(options)
        self.name = shown_name(facts.name, options.get("PARTIAL"))
        variant = _variant(facts, options)
        self.source_domains, self.target_domains = choose_domains(
            facts, options.NAME, options.SOURCE_DOMAINS, options.TARGET_DOMAINS
        )
        self.domains = list(facts.domains)
        used = list(dict.fromkeys(self.source_domains + self.target_domains))
        root = Path(os.path.abspath(os.path.expanduser(options.ROOT)))
        place = self.obtain(facts, root, used, options)
        self.dataset_dir, self.image_dir = str(place.dataset_dir), str(place.image_dir)
        splits = {domain: load_split(facts, place, domain, variant) for domain in used}
        if options.get("PARTIAL") is False and None not in facts.totals.values():
            refuse_partial(facts, count_domains(facts, place, splits), place.image_dir, options.PARTIAL)
        self._label_names = _label_names(facts, place, splits)
        _report_gaps(facts, splits, self._label_names, self.source_domains)
        train, val, test = self._pool(splits, place, cfg)
        tag = "-".join(filter(None, (facts.name, variant, "".join(map(facts.code_of, self.source_domains)))))
        few = place.dataset_dir / FEWSHOT_FOLDER / tag
        if options.NUM_SHOTS > 0:
            train, val = fewshot_sets(self, train, val, options.NUM_SHOTS, cfg.SEED, few, place.image_dir)
        files = [file for domain in used for file in split_files(facts, place, domain, variant)]
        self._files = [*files, *fewshot_files(few, options.NUM_SHOTS, cfg.SEED)]
        self._image_folders = self.image_folders(place)
        subsample = options.get("SUBSAMPLE_CLASSES", "all")
        kept = select_labels(range(len(self._label_names)), subsample)
        self._label_names = [self._label_names[label] for label in kept]
        train, val, test = (relabel(data, kept) for data in (train, val, test))
        super().__init__(train_x=train, val=val, test=test)

    def image_folders(self, place: Place) -> list[Path]:
        """Folders that hold the images of all domains."""
        return list(place.domain_dirs.values())

    def data_files(self) -> DataFiles:
        """All domains, for labels follow their classes; a rendered set is known by the file that says what it shows."""
        if self.facts.rendered:
            return DataFiles((), (os.path.join(self.dataset_dir, "world.json"), *map(str, self._files)))
        skipped = (DOWNLOAD_FOLDER, OWN_FOLDER, *PUBLISHED_FOLDERS, FEWSHOT_FOLDER, *self.facts.not_classes)
        return DataFiles(tuple(map(str, self._image_folders)), tuple(map(str, self._files)), skipped)

    @classmethod
    def facts_for(cls, options: CfgNode) -> DomainSet:
        """Facts of the dataset that a DATASET block names."""
        return cls.facts

    def obtain(self, facts: DomainSet, root: Path, used: list[str], options: CfgNode) -> Place:
        """Where the domains in use are, after getting them there."""
        return obtain(facts, root, used, options.get("DOWNLOAD", True))

    def _pool(self, splits: dict[str, Split], place: Place, cfg: CfgNode) -> list[list[Datum]]:
        """Train, val and test images: sources' splits, and the whole targets.

        Where the sources are the targets, test is what `within_domain` says, unless DATASET.TEST_ALL asks for every
        image: the train split then is part of the test set, so only models trained elsewhere may be evaluated.
        """
        train = [item for domain in self.source_domains for item in splits[domain].train]
        val = [item for domain in self.source_domains for item in splits[domain].val]
        if set(self.source_domains) == set(self.target_domains) and not cfg.DATASET.get("TEST_ALL", False):
            val, test = self.within_domain(val, cfg)
        else:
            test = [item for domain in self.target_domains for item in splits[domain].train + splits[domain].val]
        return [[_datum(item, place) for item in part] for part in (train, val, test)]

    def within_domain(self, val: list[Item], cfg: CfgNode) -> tuple[list[Item], list[Item]]:
        """Val and test images of a run that is tested on the domains that it trains on.

        The published splits have two parts, and the released codes test on val: what was selected there is an oracle's.
        """
        return val, val

    def get_num_classes(self, data_source: list[Datum]) -> int:
        """Number of classes of the dataset, also of those without an image in `data_source`."""
        return len(self._label_names)

    def get_lab2cname(self, data_source: list[Datum]) -> tuple[dict[int, str], list[str]]:
        """Label -> class name and the names in label order, also of classes without an image in `data_source`."""
        return dict(enumerate(self._label_names)), list(self._label_names)


def choose_domains(facts: DomainSet, name: str, sources: list, targets: list) -> tuple[list[str], list[str]]:
    """Full names of source and target domains from names or codes.

    An empty side becomes all domains that are not on the other side. For upstream's `*_CoOp` names (prompt labels of
    one domain) and `CROSS_*` names it becomes the other side; `CROSS_*` with both empty uses every domain.

    Raises:
        UserError: An unknown domain, both sides empty, no domain left, or sides that partly overlap.
    """
    source = resolve_domains(facts, sources, "DATASET.SOURCE_DOMAINS")
    target = resolve_domains(facts, targets, "DATASET.TARGET_DOMAINS")
    cross = name.startswith("CROSS_")
    if cross and not source and not target:
        source = list(facts.domains)
    if not source and not target:
        raise UserError(
            f"DATASET.SOURCE_DOMAINS and DATASET.TARGET_DOMAINS are both empty for {facts.name}; name the "
            f"held-out domain with --target-domains; allowed: {facts.allowed_domains()}"
        )
    mirrored = cross or name.endswith("_CoOp")
    source = source or _counterpart(facts, target, mirrored, "DATASET.SOURCE_DOMAINS")
    target = target or _counterpart(facts, source, mirrored, "DATASET.TARGET_DOMAINS")
    shared = [domain for domain in target if domain in source]
    if shared and set(source) != set(target):
        raise UserError(
            f"DATASET.TARGET_DOMAINS: {', '.join(shared)} of {facts.name} is also in "
            f"DATASET.SOURCE_DOMAINS ({', '.join(source)}); sources and targets must differ or be equal"
        )
    return source, target


def _counterpart(facts: DomainSet, given: list[str], mirrored: bool, key: str) -> list[str]:
    others = list(given) if mirrored else [domain for domain in facts.domains if domain not in given]
    if not others:
        raise UserError(
            f"{key} is empty and no domain of {facts.name} is left for it ({', '.join(given)} are taken); "
            f"allowed: {facts.allowed_domains()}"
        )
    return others


def _variant(facts: DomainSet, options: CfgNode) -> str:
    variant = options.get("VARIANT", "")
    allowed = ["", *facts.variants]
    if variant not in allowed:
        raise UserError(
            f"DATASET.VARIANT: {variant!r} is not a variant of {facts.name}; allowed: "
            f"{', '.join(map(repr, allowed))}{suggest(variant, allowed)}"
        )
    return variant


def _label_names(facts: DomainSet, place: Place, splits: dict[str, Split]) -> list[str]:
    """Class names in label order: all class folders if the splits agree with them, else those of the splits."""
    named = {}
    for split in splits.values():
        for item in split.train + split.val:
            if named.setdefault(item.label, item.classname) != item.classname:
                raise UserError(
                    f"{facts.name}: label {item.label} is {named[item.label]!r} in one split and "
                    f"{item.classname!r} in {split.file}; delete splits made for other class folders"
                )
    folders = [] if facts.lists else class_names(facts, place)
    if all(label < len(folders) and folders[label] == name for label, name in named.items()):
        names = folders
    elif sorted(named) == list(range(len(named))):
        names = [named[label] for label in range(len(named))]
    else:
        raise UserError(
            f"{facts.name}: the labels of {', '.join(split.file for split in splits.values())} are not "
            f"0 to {len(named) - 1}; use the split files of one source"
        )
    if len(names) != facts.n_classes:
        log.info(f"{facts.name} has {len(names)} classes under {place.image_dir}, {facts.n_classes} expected")
    return names


def _report_gaps(facts: DomainSet, splits: dict[str, Split], names: list[str], sources: list[str]) -> None:
    """Print which classes a domain lacks.

    Raises:
        UserError: A domain has no image at all, or a source domain no train image.
    """
    for domain, split in splits.items():
        if not split.train + split.val or (domain in sources and not split.train):
            raise UserError(f"{facts.name}: domain {domain} has no images to train or test on in {split.file}")
        present = {item.label for item in split.train + split.val}
        lacking = [name for label, name in enumerate(names) if label not in present]
        if lacking:
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            log.info(f"{facts.name}/{domain} has no images of {', '.join(lacking[:5])}{more}")


def _datum(item: Item, place: Place) -> Datum:
    return Datum(
        impath=os.path.join(place.image_dir, item.relpath),
        label=item.label,
        domain=item.domain,
        classname=item.classname,
    )


def _register(facts: DomainSet) -> None:
    body = {
        "facts": facts,
        "__doc__": f"{facts.name}: {', '.join(facts.domains)}; {facts.n_classes} classes.",
        "__module__": __name__,
    }
    DATASET_REGISTRY.register(aliases=facts.aliases)(type(facts.name, (MultiDomainDataset,), body))


for _facts in DOMAIN_SETS.values():
    _register(_facts)
