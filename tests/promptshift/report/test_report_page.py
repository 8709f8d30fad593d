"""The page: complete, self-contained, escaped, and sortable in a browser."""

import html.parser
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from dassl.utils.errors import UserError
from helpers.full_disk import files_end_at
from helpers.report_trees import ART_AND_FRIENDS, write_grid, write_run
from promptshift.cli.report import main, write_report
from promptshift.results.tables import Measured, Table
from promptshift.studies.outcome import Outcome

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NASTY = "<script>alert('x')</script>&\""


def accuracy(target, seed):
    return 70.0 + 3 * ART_AND_FRIENDS.index(target) + 0.5 * seed


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of two trainers, one figure, and an unfinished run in a folder with an unfriendly name."""
    root = tmp_path_factory.mktemp("results")
    output = root / "output"
    history = [{"epoch": epoch, "val_accuracy": 50.0 + epoch} for epoch in (1, 2, 3)]
    write_grid(output, accuracy, history=history)
    write_grid(output, lambda target, seed: 60.0, trainer="VPT")
    (output / NASTY.replace("/", "-")).mkdir()
    (output / NASTY.replace("/", "-") / "config.yaml").write_text("SEED: 1")
    series = [{"label": NASTY, "x": [0, 1], "y": [1.0, 2.0]}]
    Outcome(
        "figure",
        f"title {NASTY}",
        f"caption {NASTY}",
        f"verdict {NASTY}",
        f"alt {NASTY}",
        "lines",
        ({"xlabel": "x", "ylabel": "y", "series": series},),
        Table(("n", "value"), ((NASTY, Measured(1.0, 0.5)),), "numbers"),
    ).write(output)
    return write_report([output], root / "report")


class Collector(html.parser.HTMLParser):
    """Tags with their attributes, in order."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def test_the_page_needs_nothing_but_itself(page):
    text = page.read_text(encoding="utf-8")
    tags = Collector(text)
    assert not [attributes for _, attributes in tags.tags if "src" in attributes] and not tags.all("link")
    for attributes in tags.all("a"):
        assert not re.match(r"\w+:|/", attributes["href"]), attributes
    assert not re.search(r"@import|url\((?!#)", text)
    (policy,) = [meta["content"] for meta in tags.all("meta") if meta.get("http-equiv")]
    assert "default-src 'none'" in policy


def test_links_lead_to_configurations_and_logs_that_exist(page):
    links = [unquote(a["href"]) for a in Collector(page.read_text(encoding="utf-8")).all("a") if a["href"][0] != "#"]
    names = {link.rsplit("/", 1)[1] for link in links}
    assert names == {"config.yaml", "log.txt", "result.json"}
    assert all((page.parent / link).is_file() for link in links) and len(links) > 3 * 16


def test_every_text_is_escaped(page):
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text
    assert len(Collector(text).all("script")) == 1


def test_tables_and_figures_have_names_and_identifiers_are_unique(page):
    tags = Collector(page.read_text(encoding="utf-8"))
    assert len(tags.all("table")) == len(tags.all("caption")) >= 4
    figures = [attributes for attributes in tags.all("svg")]
    assert len(figures) == 2 and all(f["role"] == "img" and f["aria-label"] for f in figures)
    identifiers = [attributes["id"] for _, attributes in tags.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    targets = {a["href"][1:] for a in tags.all("a") if a["href"].startswith("#")}
    assert targets <= set(identifiers)


def test_figures_take_the_pages_text_colour(page):
    text = page.read_text(encoding="utf-8")
    assert "currentColor" in text and "#010203" not in text and "prefers-color-scheme: dark" in text


def test_tables_are_written_beside_the_page_and_the_markdown_says_the_same(page):
    names = {path.name for path in (page.parent / "tables").iterdir()}
    stem = "multi_source-PACS-RN50"
    assert names == {f"{stem}{kind}.{suffix}" for kind in ("", "-tests") for suffix in ("md", "csv", "tex")}
    markdown = (page.parent / "report.md").read_text(encoding="utf-8")
    assert (page.parent / "tables" / f"{stem}.md").read_text(encoding="utf-8").strip() in markdown
    assert "verdict" in markdown and "partial" in markdown
    shown = re.findall(r"!\[.+\]\((.+)\)", markdown)
    assert shown and {path.name for path in (page.parent / "figures").iterdir()} == {Path(name).name for name in shown}
    for name in shown:
        assert ElementTree.parse(page.parent / name).getroot().tag.endswith("svg")


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "absent")]) == 2
    write_run(tmp_path / "output" / "seed1", 50.0)
    assert main([str(tmp_path / "output"), "--out", str(tmp_path / "r"), "--baseline", "Nobody"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "absent" in lines[0] and "allowed: CoOp" in lines[1]


def test_a_figure_file_that_is_none_is_a_line_in_the_report(tmp_path):
    write_run(tmp_path / "output" / "seed1", 50.0)
    (tmp_path / "output" / "figures").mkdir()
    (tmp_path / "output" / "figures" / "bad.json").write_text("[1]")
    text = write_report([tmp_path / "output"], tmp_path / "report").read_text(encoding="utf-8")
    assert "corrupt figure" in text and "bad.json" in text


def test_an_output_folder_that_cannot_be_written_is_one_line(tmp_path):
    write_run(tmp_path / "output" / "seed1", 50.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--out .*file"):
        write_report([tmp_path / "output"], tmp_path / "file")


def test_a_full_disk_is_named_with_the_file(tmp_path, capsys):
    write_run(tmp_path / "output" / "seed1", 50.0)
    with files_end_at(100):
        assert main([str(tmp_path / "output"), "--out", str(tmp_path / "report")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--out" in line and "the disk is full" in line and str(tmp_path / "report" / "tables") in line
    assert not [path for path in (tmp_path / "report").rglob("*") if path.is_file()]


def test_results_that_are_nested_too_deep_or_too_long_are_lines_in_the_report(tmp_path):
    write_run(tmp_path / "output" / "seed1", 50.0)
    for name, content in (("deep", "[" * 200_000), ("long", '{"metrics": {"accuracy": 1' + "0" * 400 + "}}")):
        (tmp_path / "output" / name).mkdir()
        (tmp_path / "output" / name / "result.json").write_text(content)
    (tmp_path / "output" / "seed1" / "config.yaml").write_text("{a: " * 2000)
    text = write_report([tmp_path / "output"], tmp_path / "report").read_text(encoding="utf-8")
    assert "50.00" in text and text.count("corrupt") >= 2 and "configuration unknown" in text


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found on this machine")
def test_a_click_sorts_a_table_by_numbers(page, tmp_path):
    click = """<script>
      const head = document.querySelectorAll("table")[0].tHead.rows[0].cells[1];
      head.querySelector("button").click();
      document.title = JSON.stringify([...document.querySelectorAll("table")[0].tBodies[0].rows]
        .map(row => row.cells[1].dataset.value ?? null)) + head.getAttribute("aria-sort");
    </script>"""
    clicked = tmp_path / "clicked.html"
    clicked.write_text(page.read_text(encoding="utf-8").replace("</body>", click + "</body>"), encoding="utf-8")
    answer = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", clicked.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", answer.stdout).group(1)
    values = [float(value) for value in re.findall(r'"(-?[\d.]+)"', title)]
    assert len(values) >= 4 and values == sorted(values) and title.endswith("ascending")
