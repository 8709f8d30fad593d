"""The report page: what was found, the tables, the figures; as HTML and as Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from promptshift.report.assets import SCRIPT, STYLE
from promptshift.report.html import document, element, notes_html, table_html, text
from promptshift.report.runs import Gathered
from promptshift.report.sections import Section
from promptshift.results.tables import Table
from promptshift.studies.outcome import Outcome
from promptshift.studies.style import inline_svg, svg

TITLE = "PromptShift: results"
PICTURES = "figures"  # folder of the Markdown page's pictures, beside it


def summary_lines(gathered: Gathered) -> list[str]:
    """Return what was found, in words."""
    runs = gathered.runs
    kinds = Counter(problem.kind for problem in gathered.problems)
    trainers, datasets = sorted({run.trainer for run in runs}, key=str.lower), sorted({run.dataset for run in runs})
    lines = [
        f"Finished runs below {', '.join(map(gathered.name_of, gathered.roots))}: {len(runs)}. Trainers: "
        f"{', '.join(trainers)}. Datasets: {', '.join(datasets)}."
    ]
    dirty = {run.record["git_hash"] for run in runs if run.record}
    if len(dirty) > 1:
        lines.append(f"They were made by {len(dirty)} states of the code.")
    if kinds:
        counts = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
        lines.append(f"Left out or in doubt: {counts}; they are listed at the end.")
    return lines


def problem_table(gathered: Gathered) -> Table | None:
    """Return the table of what could not be used, None without any."""
    rows = tuple((problem.kind, problem.place, problem.text) for problem in gathered.problems)
    return Table(("kind", "folder", "what is wrong"), rows, "Left out or in doubt") if rows else None


def html_page(gathered: Gathered, sections: Sequence[Section], outcomes: Sequence[Outcome], folder: Path) -> str:
    """Return the page.

    Args:
        gathered: runs and problems.
        sections: the tables.
        outcomes: the figures.
        folder: where the page will be; links to runs are relative to it.
    """
    body = [element("h1", text(TITLE)), *(element("p", text(line)) for line in summary_lines(gathered))]
    problems = problem_table(gathered)
    body.append(_contents(sections, outcomes, problems is not None))
    heading = ""
    for section in sections:
        if section.heading != heading:
            heading = section.heading
            body.append(element("h2", text(heading), id=anchor(heading)))
            body.append(element("p", text(section.about), class_="about"))
        body.append(table_html(section.table, folder))
        body += [table_html(section.tests, folder)] if section.tests else []
    body += [element("h2", "Figures and checks", id="figures")] if outcomes else []
    body += [_outcome_html(outcome, folder) for outcome in outcomes]
    if problems:
        body += [element("h2", "Left out or in doubt", id="problems"), table_html(problems, folder, "problems")]
    return document(TITLE, STYLE, SCRIPT, body)


def anchor(heading: str) -> str:
    """Return a heading as the name of a place in the page."""
    return re.sub(r"\W+", "-", heading.lower()).strip("-")


def _contents(sections: Sequence[Section], outcomes: Sequence[Outcome], problems: bool) -> str:
    places = {section.heading: anchor(section.heading) for section in sections}
    places |= {outcome.title: anchor(outcome.name) for outcome in outcomes}
    places |= {"Left out or in doubt": "problems"} if problems else {}
    items = [element("li", element("a", text(name), href=f"#{place}")) for name, place in places.items()]
    return element("nav", element("ul", *items), aria_label="Contents")


def _outcome_html(outcome: Outcome, folder: Path) -> str:
    """Return a figure with its verdict, its caption and its numbers."""
    picture = [
        inline_svg(figure, f"{outcome.name}-{i}", " ".join((panel.get("title", ""), outcome.alt)).strip())
        for i, (panel, figure) in enumerate(zip(outcome.panels, outcome.draw_panels(), strict=True))
    ]
    verdict = [element("p", text(outcome.verdict), class_="verdict")] if outcome.verdict else []
    parts = [
        element("h3", text(outcome.title), id=anchor(outcome.name)),
        *verdict,
        element("figure", *picture, element("figcaption", text(outcome.caption))),
    ]
    if outcome.table:
        parts.append(element("details", element("summary", "numbers"), table_html(outcome.table, folder)))
    return element("section", *parts, notes_html(outcome.notes))


def pictures(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, str]]:
    """Yield file name and SVG of every figure, its panels side by side."""
    for outcome in outcomes:
        if figure := outcome.draw():
            yield f"{outcome.name}.svg", svg(figure, outcome.name)


def markdown_page(gathered: Gathered, sections: Sequence[Section], outcomes: Sequence[Outcome]) -> str:
    """Return the same as Markdown; its pictures are the files of `pictures`, in the folder `PICTURES`."""
    parts = [f"# {TITLE}", *summary_lines(gathered)]
    heading = ""
    for section in sections:
        if section.heading != heading:
            heading = section.heading
            parts += [f"## {heading}", section.about]
        parts += [table.markdown().rstrip() for table in (section.table, section.tests) if table]
    for outcome in outcomes:
        picture = f"![{outcome.alt}]({PICTURES}/{outcome.name}.svg)" if outcome.kind else ""
        parts += [f"## {outcome.title}", outcome.verdict, picture, outcome.caption, *outcome.notes]
        parts += [outcome.table.markdown().rstrip()] if outcome.table else []
    problems = problem_table(gathered)
    parts += ["## Left out or in doubt", problems.markdown().rstrip()] if problems else []
    return "\n\n".join(part for part in parts if part) + "\n"
