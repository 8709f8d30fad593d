"""Every kind of table, of made-up accuracies, is what it was to the last character: `tests/goldens/tables/`."""

import pytest

from helpers import table_recipes as recipes


@pytest.fixture(autouse=True)
def output(monkeypatch, tmp_path):
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))
    recipes.use_made_up_papers(monkeypatch)


def golden(name):
    return recipes.GOLDENS.joinpath(name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", recipes.PLANS)
def test_the_table_at_the_end_of_a_plan(name):
    (section,) = [part for part in f"\n{golden('plans.txt')}".split("\n## ") if part.startswith(f"{name}\n")]
    assert recipes.plan_text(name).strip() == f"## {section}".strip()


def test_the_tables_of_a_report(tmp_path):
    assert recipes.report_text(tmp_path / "runs") == golden("report.txt")
