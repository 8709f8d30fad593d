"""A protocol is one registered function with its layout: plan, table, report and published row follow from it."""

import pytest

from helpers.protocol_plans import configuration, plan_of, records_of
from helpers.report_trees import write_run
from promptshift.cli.run import main
from promptshift.paths import load_plugins
from promptshift.protocols import registry
from promptshift.protocols.registry import Plan, register
from promptshift.protocols.seed_table import seed_table
from promptshift.report.runs import gather
from promptshift.report.sections import sections_of
from promptshift.results import layout, papers
from promptshift.results.layout import SEEDS_AND_DOMAINS, Layout, by_shots
from promptshift.results.statistics import mean
from promptshift.runs.published import expected_accuracy, published_lines

PAPER = """
paper: Toy
arxiv: "1234.56789"
title: Toys
trainers: {CoOp: [CoOp]}
facts: []
tables:
  - {source: Table 9, protocol: two_shots, dataset: EuroSAT, columns: ["1", "2", gain],
     rows: {ViT-B/16: {CoOp: [50.5, 60.5, 10.0]}}}
  - {source: Table 9, protocol: two_shots, dataset: average, columns: ["1", "2", gain],
     rows: {ViT-B/16: {CoOp: [51.5, 61.5, 10.0]}}}
"""


@pytest.fixture(autouse=True)
def two_shots(monkeypatch, tmp_path):
    """The protocol, as somebody would write it; forgotten afterwards."""
    load_plugins()
    registry.protocols()
    monkeypatch.setattr(registry, "_PROTOCOLS", dict(registry._PROTOCOLS))
    monkeypatch.setattr(layout, "_LAYOUTS", dict(layout._LAYOUTS))
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "toy.yaml").write_text(PAPER)
    monkeypatch.setattr(papers, "checkout", lambda: tmp_path)
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))

    @register(
        "two_shots",
        layout=Layout(
            title="One image or two",
            about="A column is the number of training images per class; gain is what the second one brings.",
            column=by_shots,
            columns=("1", "2"),
            derived={"gain": lambda one, two: mean(two) - mean(one)},
            over="each",
            free=(*SEEDS_AND_DOMAINS, "DATASET.NUM_SHOTS"),
        ),
        takes=("also",),
    )
    def plan(request):
        jobs = [
            part.job(
                f"{part.dataset} {shots} seed {seed}",
                part.folder / shots / f"seed{seed}",
                (part.dataset, shots),
                seed,
                ["DATASET.NUM_SHOTS", shots],
            )
            for part in request.datasets
            for shots in ("1", "2")
            for seed in part.seeds
        ]
        return Plan(tuple(jobs), request.folder, lambda records: seed_table(request, jobs, records))


def rows(table):
    cells = {row[0]: [cell if isinstance(cell, str | None) else cell.mean for cell in row[1:]] for row in table.rows}
    return table.header[1:], cells


def test_its_plan_and_its_table(capsys):
    assert main("two_shots CoOp eurosat --seeds 1 2 --dry-run".split()) == 0
    assert capsys.readouterr().out.count("PROTOCOL two_shots DATASET.NUM_SHOTS") == 4
    plan = plan_of("two_shots", "CoOp", "eurosat", seeds=(1, 2))
    header, cells = rows(plan.table(records_of(plan, {"1": 40.0, "2": 55.0})))
    assert header == ("1", "2", "gain") and cells["CoOp (this checkout)"] == [40, 55, 15]
    assert cells["CoOp: Toy (arXiv 1234.56789), Table 9"] == [50.5, 60.5, 10]
    _, cells = rows(plan.table(records_of(plan, {"1": 40.0})))
    assert cells["CoOp (this checkout)"] == [40, "missing (0 of 2 done)", "missing"]


def test_its_average_over_datasets():
    plan = plan_of("two_shots", "CoOp", "eurosat,dtd")
    accuracies = {job.name: 40.0 + 10 * index for index, job in enumerate(plan.jobs)}
    records = {job.name: records_of(plan, {job.cell[1]: accuracies[job.name]})[job.name] for job in plan.jobs}
    _, cells = rows(plan.table(records))
    assert cells["average: CoOp (this checkout)"] == [50, 60, 10]
    assert cells["average: CoOp: Toy (arXiv 1234.56789), Table 9"] == [51.5, 61.5, 10]


def test_its_published_number_of_a_run():
    cfg, _ = configuration(plan_of("two_shots", "CoOp", "eurosat").jobs[1])
    assert expected_accuracy(cfg) == 60.5
    assert published_lines(cfg, 60.0) == [
        "* published for CoOp, 2: 60.5 % (Toy (arXiv 1234.56789), Table 9); this run less that: -0.50"
    ]


def test_its_section_of_a_report(tmp_path):
    values = {("1", 1): 40.0, ("1", 2): 50.0, ("2", 1): 60.0, ("2", 2): 60.0}
    for dataset in ("EuroSAT", "DescribableTextures"):
        for (shots, seed), value in values.items():
            write_run(
                tmp_path / "runs" / dataset / shots / str(seed),
                value,
                target="",
                seed=seed,
                options=["DATASET.NUM_SHOTS", shots],
                protocol="two_shots",
                dataset=dataset,
                backbone="ViT-B/16",
                shots=int(shots),
            )
    overview, _, section = sections_of(gather([tmp_path / "runs"]).runs)
    assert section.heading == "One image or two" and section.dataset == "EuroSAT"
    header, cells = rows(section.table)
    assert header == ("1", "2", "gain") and cells["CoOp"] == [45, 60, 15]
    assert section.table.rows[0][3].std == 5
    assert cells["CoOp, published: Toy (arXiv 1234.56789), Table 9"] == [50.5, 60.5, 10]
    assert cells["CoOp − published (Toy (arXiv 1234.56789), Table 9)"] == [-5.5, -0.5, 5]
    header, cells = rows(overview.table)
    assert header == ("datasets", "1", "2", "gain") and cells["CoOp"] == ["2", 45, 60, 15]
