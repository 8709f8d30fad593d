"""The report about one dataset on disk, and its text."""

from dataclasses import dataclass, field
from pathlib import Path

from dassl.utils import read_image
from dassl.utils.errors import UserError

from ._splits import Split


@dataclass
class DomainReport:
    """One domain (or part, in a dataset without domains): its folder, images expected (None: unknown) and found, per
    class, and its split file if any."""

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


def readable(path: Path) -> bool:
    """Tell whether a run could read the image: it is decoded to the last pixel."""
    try:
        read_image(path)
    except UserError:
        return False
    return True


def format_report(report: CheckReport) -> str:
    """The report as text: one line per domain, then the problems and what to do."""
    lines = [f"{report.name}: {report.folder}"]
    for entry in report.domains:
        expected = "unknown" if entry.expected is None else f"{entry.expected:,}"
        split = (
            f"; train {len(entry.split.train):,}, val {len(entry.split.val):,} ({entry.split.file})"
            if entry.split
            else ""
        )
        counts = entry.per_class.values()
        classes = (
            f"; {len(counts)} of {report.n_classes} classes, {min(counts):,} to {max(counts):,} images each"
            if counts
            else ""
        )
        lines.append(f"  {entry.domain}: {entry.found:,} images (expected {expected}){classes}{split}")
    lines += [f"  problem: {problem}" for problem in report.problems]
    lines += [f"  note: {advice}" for advice in report.advice]
    return "\n".join(lines + ["  all is well" if report.ok else f"  {len(report.problems)} problem(s)"])
