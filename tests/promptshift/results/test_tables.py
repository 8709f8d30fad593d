"""A table and its three written forms."""

import csv
import io

import pytest

from promptshift.results.tables import Measured, Table

TABLE = Table(
    header=("method", "art_painting", "average"),
    rows=(
        ("CoOp & co", Measured(92.8), Measured(200 / 3, 0.125)),
        ("paper", None, Measured(65.0)),
        ("ours", "missing (1 of 3 done)", None),
    ),
    caption="PACS, 50 %",
    notes=("first note", "second note"),
)


def test_measured_shows_two_decimals_and_one_seed_has_no_spread():
    assert str(Measured.of([92.0, 93.0])) == "92.50 ± 0.50"
    assert str(Measured.of([92.004])) == "92.00"


def test_markdown_keeps_blank_cells_blank_and_columns_aligned():
    lines = TABLE.markdown().splitlines()
    assert lines[0] == "PACS, 50 %"
    grid = [line for line in lines if line.startswith("|")]
    assert len({len(line) for line in grid}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in grid]
    assert cells[0] == ["method", "art_painting", "average"]
    assert cells[2:] == [
        ["CoOp & co", "92.80", "66.67 ± 0.12"],
        ["paper", "", "65.00"],
        ["ours", "missing (1 of 3 done)", ""],
    ]
    assert lines[-3:] == ["first note", "", "second note"]


def test_csv_has_full_precision_and_spreads_in_columns_of_their_own():
    rows = list(csv.reader(io.StringIO(TABLE.csv())))
    assert rows[0] == ["method", "art_painting", "average", "average std"]
    assert rows[1] == ["CoOp & co", "92.8", repr(200 / 3), "0.125"]
    assert rows[2] == ["paper", "", "65.0", ""]
    assert rows[3] == ["ours", "missing (1 of 3 done)", "", ""]


def test_latex_escapes_what_latex_would_choke_on():
    text = TABLE.latex()
    assert r"art\_painting" in text and r"CoOp \& co" in text and r"50 \%" in text
    assert r"66.67 $\pm$ 0.12" in text
    assert text.index(r"\begin{table}") < text.index(r"\begin{tabular}") < text.index(r"\end{table}")


def test_write_leaves_three_files_and_overwrites(tmp_path):
    folder = tmp_path / "deep" / "folder"
    for _ in range(2):
        paths = TABLE.write(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["table.csv", "table.md", "table.tex"]
    assert paths[0].read_text(encoding="utf-8") == TABLE.markdown()


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="2 cells"):
        Table(header=("a", "b", "c"), rows=(("x", None),))
