"""`promptshift list [PATTERN]`: trainers, data sets, configurations, protocols and papers by name.

PATTERN is looked for in names and in kinds ("trainer", "dataset", "config", "protocol", "paper"), in any case; * and ?
are wildcards. Quote it, so that the shell leaves it alone: promptshift list 'dp*'

The exact name of a trainer also lists its options: key, default, allowed values, what it does and where it is from.
"""

from __future__ import annotations

import fnmatch
import sys
import textwrap
from collections.abc import Iterator, Sequence

from tabulate import tabulate

from dassl.config.options import Option
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError, suggest
from dassl.utils.registry import Registry
from promptshift.cli.command import Parser, answer
from promptshift.discovery import declared
from promptshift.paths import checkout, load_plugins
from promptshift.runs.options import trainer_options

Row = tuple[str, str, str]  # kind, name, what it is


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what matches: 0, or 2 when nothing does (one line on stderr)."""
    return answer(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    parser = Parser("promptshift list", description=__doc__)
    parser.add_argument("pattern", nargs="?", default="*", metavar="PATTERN")
    pattern = parser.parse_args(argv).pattern
    rows = everything()
    found = [row for row in rows if _matches(pattern, row)]
    if not found:
        raise UserError(f"nothing is called {pattern!r}{suggest(pattern, [name for _, name, _ in rows])}")
    print(tabulate(found, ("kind", "name", ""), disable_numparse=True))
    if ("trainer", pattern) in [row[:2] for row in found]:
        print(f"\n{_options(pattern)}")
    return 0


def _options(trainer: str) -> str:
    """The options of a registered trainer as a table."""
    load_plugins("trainers")
    options = trainer_options(TRAINER_REGISTRY.get(trainer))
    heads, widths = ("option", "default", "allowed", "what it does (source)"), (60, 30, 40, 60)
    rows = [
        [textwrap.fill(cell, width) for cell, width in zip((key, repr(o.default), o.allowed, _remark(o)), widths)]
        for key, o in options.items()
    ]
    return tabulate(rows, heads, disable_numparse=True) if rows else f"{trainer} has no options of its own."


def _remark(option: Option) -> str:
    return f"{option.about} ({option.source})" if option.about and option.source else option.about or option.source


def _matches(pattern: str, row: Row) -> bool:
    pattern = pattern.lower()
    if not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"
    return any(fnmatch.fnmatchcase(word.lower(), pattern) for word in row[:2])


def everything() -> list[Row]:
    """Every trainer, data set, configuration, protocol and paper of the project."""
    from dassl.data.datasets import DATASET_REGISTRY
    from promptshift.protocols.registry import protocols
    from promptshift.results.papers import load_papers

    load_plugins("datasets")
    configs = checkout() / "configs"
    rows = [*_trainers(), *_registered("dataset", DATASET_REGISTRY)]
    rows += [("config", str(path.relative_to(configs).with_suffix("")), "") for path in sorted(configs.rglob("*.yaml"))]
    rows += [("protocol", name, _first_line(sys.modules[made.__module__])) for name, made in protocols().items()]
    rows += [("paper", paper.name, f"arXiv {paper.arxiv}: {paper.title}") for paper in load_papers()]
    return rows


def _trainers() -> list[Row]:
    """The trainers as their files declare them: importing them would take as long as PyTorch does."""
    found = declared(checkout() / "trainers", "TRAINER_REGISTRY")
    if found is None:
        from dassl.engine import TRAINER_REGISTRY

        load_plugins("trainers")
        return list(_registered("trainer", TRAINER_REGISTRY))
    rows = [("trainer", one.name, one.about) for one in found]
    rows += [("trainer", alias, f"= {one.name}") for one in found for alias in one.aliases]
    return sorted(rows, key=lambda row: row[1].lower())


def _registered(kind: str, registry: Registry) -> Iterator[Row]:
    """A row per registered name; an alias says what it stands for."""
    for name in sorted(registry.registered_names(), key=str.lower):
        owner = registry.get(name)
        yield kind, name, _first_line(owner) if owner.__name__ == name else f"= {owner.__name__}"


def _first_line(documented: object) -> str:
    return (documented.__doc__ or "").strip().partition("\n")[0]
