"""Published numbers: the transcription is consistent with itself, and rows are found."""

import textwrap

import pytest

from dassl.utils.errors import UserError
from promptshift.results import papers
from promptshift.results.statistics import mean

# Printed averages that are not the mean of the printed columns, rounded to one decimal.
WRONG_AVERAGES = {
    ("Table 1", "RN50", "CoOp"): (65.9, 65.8),
    ("Table 1", "RN50", "CoCoOp"): (66.3, 66.2),
    ("Table 1", "RN50", "VP"): (62.4, 62.5),
    ("Table 1", "RN50", "SPG"): (67.5, 67.6),
    ("Table 1", "ViT-B/16", "ZS-CLIP"): (70.2, 70.1),
    ("Table 1", "ViT-B/16", "CoOp"): (73.6, 73.3),
    ("Table 1", "ViT-B/16", "CoCoOp"): (73.2, 73.0),
    ("Table 1", "ViT-B/16", "DPL"): (73.6, 73.3),
    ("Table 1", "ViT-B/16", "VPT"): (73.6, 73.5),
    ("Table 2", "RN50", "CoOp"): (61.4, 61.5),
}


def spg_rows():
    return next(paper for paper in papers.load_papers() if paper.name == "SPG").rows


def test_printed_averages_disagree_with_their_columns_only_where_known():
    wrong = {}
    for row in spg_rows():
        values = dict(row.values)
        printed = values.pop("average", None)
        if printed is not None and abs(mean(values.values()) - printed) > 0.05 + 1e-9:
            wrong[row.source.rpartition(", ")[2], row.backbone, row.method] = (printed, round(mean(values.values()), 1))
    assert wrong == WRONG_AVERAGES


@pytest.mark.parametrize("protocol", ["multi_source", "single_source"])
def test_summary_tables_agree_with_the_per_domain_tables_except_once(protocol):
    different = []
    for row in papers.find(protocol=protocol, dataset="all"):
        for dataset, value in row.values.items():
            for detail in papers.find(protocol=protocol, dataset=dataset, backbone=row.backbone):
                if detail.method == row.method and detail.values["average"] != value:
                    different.append((row.method, row.backbone, dataset, value, detail.values["average"]))
    known = [("Lin. Prob.", "ViT-B/16", "TerraIncognita", 44.6, 46.6)]
    assert different == (known if protocol == "multi_source" else [])


def test_find_returns_values_spread_and_source():
    (row,) = papers.find(trainer="SPG", protocol="multi_source", dataset="PACS", backbone="RN50")
    assert row.values == {"art_painting": 92.8, "cartoon": 93.8, "photo": 99.5, "sketch": 85.1, "average": 92.8}
    assert row.source == "SPG (arXiv 2404.19286), Table 7"
    (summary,) = papers.find(trainer="SPG", protocol="multi_source", dataset="all", backbone="RN50")
    assert (summary.values["VLCS"], summary.std["VLCS"], summary.std["average"]) == (84.0, 1.1, None)


def test_trainers_stand_for_rows_under_every_registered_name():
    for trainer, method in [("SPG_CGAN", "SPG"), ("ZeroshotCLIP", "ZS-CLIP"), ("CoOp", "CoOp")]:
        assert [row.method for row in papers.find(trainer=trainer, dataset="VLCS", backbone="ViT-B/16")] == [method]


def test_ablation_rows_are_found_only_when_asked_for():
    assert all(row.ablation == "" for row in papers.find(dataset="PACS"))
    rows = papers.find(dataset="PACS", ablation="context length")
    assert [row.method for row in rows] == ["2", "4 (word init)", "4 (random, std 0.02)", "8", "16"]


@pytest.mark.parametrize("backbone", ["RN50", "ViT-B/16"])
@pytest.mark.parametrize("dataset", ["PACS", "VLCS", "OfficeHome", "TerraIncognita", "DomainNet"])
def test_dpspg_has_a_blank_row_with_spgs_columns(dataset, backbone):
    (row,) = papers.find(trainer="DPSPG", protocol="multi_source", dataset=dataset, backbone=backbone)
    (spg,) = papers.find(trainer="SPG", protocol="multi_source", dataset=dataset, backbone=backbone)
    assert list(row.values) == list(spg.values) and set(row.values.values()) == {None}


def test_ldpf_has_only_the_numbers_that_were_seen():
    rows = [row for row in papers.find(trainer="LDPF") if any(value is not None for value in row.values.values())]
    assert [{k: v for k, v in row.values.items() if v is not None} for row in rows] == [
        {"OfficeHome": 85.13, "average": 78.85}, {"average": 85.13},
    ]  # fmt: skip


def test_per_domain_columns_are_the_datasets_own_domains():
    from datasets.domain_sets import domain_sets

    for row in papers.find():
        if row.dataset != "all":
            assert sorted(set(row.values) - {"average"}) == sorted(domain_sets[row.dataset].domains), row.source


@pytest.mark.parametrize(
    ("rows", "named"),
    [("{RN50: {A: [1.0]}}", "Table 9, RN50, A: 1 values, 2 columns"), ("{RN50: {A: [1.0, x]}}", "could not convert")],
)
def test_malformed_files_are_one_line_naming_the_file(tmp_path, rows, named):
    path = tmp_path / "bad.yaml"
    path.write_text(textwrap.dedent(f"""
        paper: Bad
        arxiv: "1"
        title: t
        trainers: {{}}
        tables: [{{source: Table 9, protocol: p, dataset: d, columns: [a, b], rows: {rows}}}]
    """))
    with pytest.raises(UserError, match=named) as error:
        papers.load_papers(tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_missing_key_is_named(tmp_path):
    (tmp_path / "bad.yaml").write_text("paper: Bad\n")
    with pytest.raises(UserError, match="bad.yaml: key 'arxiv' is missing"):
        papers.load_papers(tmp_path)
