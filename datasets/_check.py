"""What is there of a dataset, against what should be: counts per domain and class, split files, unreadable images."""
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from dassl.utils.errors import UserError

from ._facts import DomainSet, find_domain_set
from ._layout import Place, dataset_folder, domain_pieces, find_place, image_names
from ._obtain import missing_data_help, obtain
from ._splits import Split, load_split, read_split
from .domain_sets import domain_sets
from .own_folder import read_folder


@dataclass
class DomainReport:
    """One domain: its folder, images expected (None: unknown) and found, per class, and its split file if any."""

    domain: str
    folder: Path | None
    expected: int | None
    per_class: dict[str, int] = field(default_factory=dict)
    split: Split | None = None

    @property
    def found(self) -> int:
        """Number of images of the domain."""
        return sum(self.per_class.values())


@dataclass
class CheckReport:
    """The findings about one dataset; `problems` is empty when all is well, `advice` says what to do."""

    name: str
    folder: Path
    n_classes: int
    domains: list[DomainReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is missing, superfluous or unreadable."""
        return not self.problems


def known_datasets() -> list[str]:
    """Names that `check_dataset` accepts; aliases, config names and any case are accepted too."""
    return list(domain_sets)


def check_dataset(name: str, root: str | Path, deep: bool = False, folder: str = "") -> CheckReport:
    """Count the images of a dataset below `root`; nothing is downloaded, rendered or written.

    Args:
        deep: Also let PIL verify every image.
        folder: DATASET.FOLDER of a folder of one's own; `name` is not looked at then.

    Raises:
        UserError: No dataset answers to `name`, or the folder is not one of images.
    """
    if folder:
        facts, place = read_folder(root, folder)
    else:
        facts = find_domain_set(name)
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
    facts = find_domain_set(name)
    place = obtain(facts, root, list(facts.domains))
    for domain in facts.domains:
        load_split(facts, place, domain)


def _check_domain(facts: DomainSet, place: Place, entry: DomainReport, report: CheckReport, deep: bool) -> None:
    try:
        entry.split = read_split(facts, place, entry.domain)
        images = _images(facts, entry)
    except UserError as error:
        report.problems.append(f"{entry.domain}: {error}")
        return
    entry.per_class = {name: len(paths) for name, paths in images.items()}
    # Published counts are to be met; in a folder of one's own a domain may lack a class.
    remarks = report.advice if entry.expected is None else report.problems
    if entry.expected not in (None, entry.found):
        remarks.append(f"{entry.domain}: {entry.found:,} images, {entry.expected:,} expected")
    if not facts.lists and len(images) != facts.n_classes:
        remarks.append(f"{entry.domain}: {len(images)} class folders, {facts.n_classes} expected")
    remarks += [f"{entry.domain}: no images of {name}" for name, paths in images.items() if not paths]
    if deep:
        report.problems += [f"{entry.domain}: unreadable image {path}"
                            for paths in images.values() for path in paths if not _readable(path)]


def _images(facts: DomainSet, entry: DomainReport) -> dict[str, list[Path]]:
    """Paths of a domain's images per class: those of the lists, or all of the folders but the corrupt ones."""
    images: dict[str, list[Path]] = {}
    if facts.lists:
        for item in entry.split.train + entry.split.val:
            images.setdefault(item.classname, []).append(entry.folder.parent / item.relpath)
        return images
    for piece in domain_pieces(facts, entry.folder):
        for name, folder in piece.classes.items():
            images.setdefault(name, []).extend(folder / file for file in image_names(folder)
                                               if f"{entry.domain}/{name}/{file}" not in facts.corrupt)
    return images


def _readable(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError):
        return False
    return True


def _advise(facts: DomainSet, report: CheckReport, folder: Path) -> None:
    if facts.rendered and not report.ok:
        report.advice.append(f"remove {folder} where it exists; python -m promptshift.data prepare {facts.name} "
                             "renders it anew")
    elif not report.ok:
        report.advice.append(missing_data_help(facts.archives, folder))
    if report.ok and not all(entry.split for entry in report.domains):
        report.advice.append("no split files yet; the first run makes them, or uses published ones from "
                             f"{facts.split_archive.link}" if facts.split_archive else
                             "no split files yet; the first run makes them")


def format_report(report: CheckReport) -> str:
    """The report as text: one line per domain, then the problems and what to do."""
    lines = [f"{report.name}: {report.folder}"]
    for entry in report.domains:
        expected = "unknown" if entry.expected is None else f"{entry.expected:,}"
        split = (f"; train {len(entry.split.train):,}, val {len(entry.split.val):,} ({entry.split.file})"
                 if entry.split else "")
        counts = entry.per_class.values()
        classes = (f"; {len(counts)} of {report.n_classes} classes, {min(counts):,} to {max(counts):,} images each"
                   if counts else "")
        lines.append(f"  {entry.domain}: {entry.found:,} images (expected {expected}){classes}{split}")
    lines += [f"  problem: {problem}" for problem in report.problems]
    lines += [f"  note: {advice}" for advice in report.advice]
    return "\n".join(lines + ["  all is well" if report.ok else f"  {len(report.problems)} problem(s)"])
