"""What is there of a dataset, against what should be: counts per domain and class, split files, unreadable images."""

from pathlib import Path

from dassl.utils.errors import UserError

from ._complete import domain_images, named_parts
from ._facts import DOMAIN_SETS, RULE_3_PERCENT, DomainSet
from ._image_facts import IMAGE_SETS, ImageSet, find_facts
from ._image_readers import read_parts
from ._layout import Place, dataset_folder, find_folder, find_place
from ._obtain import missing_data_help, missing_images_help, obtain, obtain_images
from ._report import CheckReport, DomainReport, format_report, readable
from ._splits import load_split, read_split
from .own_folder import read_folder

__all__ = ["check_dataset", "format_report", "known_datasets", "prepare_dataset"]


def known_datasets() -> list[str]:
    """Names that `check_dataset` accepts; aliases, config names and any case are accepted too."""
    return [*DOMAIN_SETS, *IMAGE_SETS]


def check_dataset(name: str, root: str | Path, deep: bool = False, folder: str = "") -> CheckReport:
    """Count the images of a dataset below `root`; nothing is downloaded, rendered or written.

    Args:
        deep: Also decode every image.
        folder: DATASET.FOLDER of a folder of one's own; `name` is not looked at then.

    Raises:
        UserError: No dataset answers to `name`, or the folder is not one of images.
    """
    if folder:
        facts, place = read_folder(root, folder)
    else:
        facts = find_facts(name)
        if isinstance(facts, ImageSet):
            return _check_images(facts, Path(root), deep)
        place = find_place(facts, root)
    report = CheckReport(facts.name, place.image_dir if place else dataset_folder(facts, root), facts.n_classes)
    for domain in facts.domains:
        folder = place.domain_dirs.get(domain) if place else None
        entry = DomainReport(domain, folder, facts.totals[domain])
        report.domains.append(entry)
        if folder is None:
            report.problems.append(f"{domain}: no folder")
            continue
        _check_domain(facts, place, entry, report, deep)
    _advise(facts, report, dataset_folder(facts, root))
    return report


def prepare_dataset(name: str, root: str | Path) -> None:
    """Download (or render) what is missing of a dataset, and make its splits.

    Raises:
        UserError: No dataset answers to `name`, or its images could not be had; the line says what to put where.
    """
    facts = find_facts(name)
    if isinstance(facts, ImageSet):
        obtain_images(facts, root)
        return
    place = obtain(facts, root, list(facts.domains))
    for domain in facts.domains:
        load_split(facts, place, domain)


def _check_domain(facts: DomainSet, place: Place, entry: DomainReport, report: CheckReport, deep: bool) -> None:
    try:
        entry.split = read_split(facts, place, entry.domain)
        images = domain_images(facts, place, entry.domain, entry.split)
    except UserError as error:
        report.problems.append(f"{entry.domain}: {error}")
        return
    entry.per_class = {name: len(paths) for name, paths in images.items()}
    unlisted = entry.found - len(entry.split.train + entry.split.val) if entry.split else 0
    if unlisted > 0 and RULE_3_PERCENT not in dict(facts.pieces).values():
        report.problems.append(
            f"{entry.domain}: {unlisted:,} images are not in {entry.split.file}; delete it to split anew"
        )
    # Published counts are to be met; in a folder of one's own a domain may lack a class.
    remarks = report.advice if entry.expected is None else report.problems
    if entry.expected not in (None, entry.found):
        remarks.append(f"{entry.domain}: {entry.found:,} images, {entry.expected:,} expected")
    if not facts.lists and len(images) != facts.n_classes:
        remarks.append(f"{entry.domain}: {len(images)} class folders, {facts.n_classes} expected")
    remarks += [f"{entry.domain}: no images of {name}" for name, paths in images.items() if not paths]
    if deep:
        report.problems += [
            f"{entry.domain}: unreadable image {path}"
            for paths in images.values()
            for path in paths
            if not readable(path)
        ]


def _advise(facts: DomainSet, report: CheckReport, folder: Path) -> None:
    if facts.rendered and not report.ok:
        report.advice.append(f"remove {folder} where it exists; promptshift data prepare {facts.name} renders it anew")
    elif not report.ok:
        report.advice.append(missing_data_help(facts.archives, folder))
    if report.ok and not all(entry.split for entry in report.domains):
        report.advice.append(
            f"no split files yet; the first run makes them, or uses published ones from {facts.split_archive.link}"
            if facts.split_archive
            else "no split files yet; the first run makes them"
        )


def _check_images(facts: ImageSet, root: Path, deep: bool) -> CheckReport:
    """The report about a dataset without domains: its parts take the place of domains."""
    folder = root / facts.folder
    image_dir = find_folder(folder, facts.images)
    report = CheckReport(facts.name, image_dir or folder / facts.images, facts.n_classes)
    try:
        if image_dir is None:
            raise UserError(f"no folder {folder / facts.images}")
        parts = named_parts(facts, read_parts(facts, image_dir, root))
    except UserError as error:
        report.problems.append(str(error))
        parts = {}
    for name, expected in facts.totals.items():
        entry = DomainReport(name, image_dir, expected)
        report.domains.append(entry)
        for item in parts.get(name, []):
            entry.per_class[item.classname] = entry.per_class.get(item.classname, 0) + 1
        if parts and entry.found != expected:
            report.problems.append(f"{name}: {entry.found:,} images, {expected:,} expected")
        if deep:
            report.problems += [
                f"{name}: unreadable image {image_dir / item.relpath}"
                for item in parts.get(name, [])
                if not readable(image_dir / item.relpath)
            ]
    if not report.ok:
        report.advice.append(missing_images_help(facts, folder))
    return report
