"""Published numbers: the transcription is consistent with itself, and rows are found."""

import textwrap

import pytest

from dassl.utils.errors import UserError
from promptshift.results import papers
from promptshift.results.statistics import harmonic_mean, mean

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
        {"OfficeHome": 85.13, "average": 78.85},
        {"average": 85.13},
    ]


def test_columns_are_the_datasets_own_domains_or_datasets():
    from datasets._image_facts import IMAGE_SETS
    from datasets.domain_sets import domain_sets

    for row in papers.find():
        columns = set(row.values) - {"average", "average with ImageNet"}
        if row.dataset in domain_sets:
            assert sorted(columns) == sorted(domain_sets[row.dataset].domains), row.source
        elif row.protocol in ("xd", "imagenet_variants"):
            assert row.dataset == "all" and columns <= set(IMAGE_SETS), row.source
        elif row.protocol == "base_to_new":
            assert row.dataset in {"average", *IMAGE_SETS} and columns == {"Base", "New", "H"}, row.source


def test_h_is_that_of_base_and_new_except_where_known():
    wrong = {}
    for row in papers.find(protocol="base_to_new"):
        if row.values.get("H") is not None:
            computed = harmonic_mean([row.values["Base"]], [row.values["New"]])
            if abs(computed - row.values["H"]) > 0.011:
                wrong[row.method, row.dataset] = (row.values["H"], round(computed, 2))
    assert wrong == {
        ("PromptKD", "StanfordCars"): (83.13, 83.08),
        ("PromptKD", "UCF101"): (86.10, 85.83),
        ("MaPLe (DePT's run)", "FGVCAircraft"): (38.31, 38.41),
        ("PromptSRC+DePT", "UCF101"): (82.46, 82.41),
        ("RPO", "average"): (77.78, 77.94),
        ("HPT", "average"): (80.23, 80.42),  # presumably means of the datasets' H
    }


# DePT's figure prints these averages over rows that have others
NOT_OF_THE_ROWS = {
    "CoOp (DePT's run)": {"Base": 81.50, "New": 69.77, "H": 75.18},
    "CoCoOp (DePT's run)": {"Base": 81.18, "New": 72.18, "H": 76.42},
    "PromptSRC+DePT": {"Base": 85.19},
}


def test_averages_are_those_of_the_eleven_datasets():
    averages = {row.method: row for row in papers.find(protocol="base_to_new", dataset="average")}
    seen = set()
    for method, average in averages.items():
        rows = [row for row in papers.find(protocol="base_to_new") if row.method == method and row is not average]
        if rows:
            assert len(rows) == 11, method
            base, new = ([row.values[column] for row in rows] for column in ("Base", "New"))
            computed = {"Base": mean(base), "New": mean(new), "H": harmonic_mean(base, new)}
            if method in NOT_OF_THE_ROWS:
                assert average.values != pytest.approx(computed, abs=0.006)
                computed |= NOT_OF_THE_ROWS[method]
            assert computed == pytest.approx(average.values, abs=0.006), method
            seen.add(method)
    assert seen >= {"CLIP", "CoOp", "CoCoOp", "MaPLe", "PromptSRC", "PromptKD", "CoOp+DPC", "CoOp (DPC's run)"}


def test_averages_over_targets_leave_the_source_out():
    wrong = {}
    for row in [*papers.find(protocol="xd"), *papers.find(protocol="imagenet_variants")]:
        values = {column: value for column, value in row.values.items() if value is not None}
        average, whole = values.pop("average", None), values.pop("average with ImageNet", None)
        assert whole is None or mean(values.values()) == pytest.approx(whole, abs=0.0051), row.method
        values.pop("ImageNet", None)
        if average is not None and abs(mean(values.values()) - average) > 0.0051:
            wrong[row.method, row.protocol] = (average, round(mean(values.values()), 4))
    assert wrong == {("ProDA", "xd"): (65.62, 65.6125), ("MaPLe+TPT", "xd"): (66.50, 66.492)}


def test_dpcs_own_baselines_are_kept_apart():
    (coop,) = papers.find(trainer="CoOp", protocol="base_to_new", dataset="EuroSAT")
    assert coop.values["New"] == 54.74 and coop.source == "PromptKD (arXiv 2403.02781), Table 1"
    ours = papers.find(trainer="StackSPLE_CoOp", protocol="base_to_new", dataset="EuroSAT")
    assert [(row.method, row.values["New"]) for row in ours] == [("CoOp+DPC", 51.62)]
    assert [row.method for row in papers.find(trainer="DPC_MaPLe", dataset="EuroSAT")] == ["MaPLe+DPC"]
    (own,) = [row for row in papers.find(dataset="EuroSAT") if row.method == "CoOp (DPC's run)"]
    assert own.values["New"] == 51.62 and own.source.startswith("DPC (arXiv 2503.13443)") and own.trainers == ()


def test_misprints_are_resolved():
    (tpt,) = papers.find(trainer="TPT", protocol="imagenet_variants", backbone="ViT-B/16")
    (align,) = papers.find(trainer="PromptAlign", protocol="imagenet_variants")
    assert (tpt.values["ImageNetV2"], align.values["ImageNetSketch"]) == (63.45, 50.23)
    assert "64.35" in tpt.note and "56.23" in align.note


def test_a_run_is_told_the_published_number_of_its_cell():
    from promptshift.runs.config import build_cfg
    from promptshift.runs.published import expected_accuracy

    argv = [
        "--trainer",
        "MaPLe",
        "--backbone",
        "ViT-B/16",
        "PROTOCOL",
        "base_to_new",
        "DATASET.NAME",
        "DescribableTextures",
        "DATASET.SUBSAMPLE_CLASSES",
    ]
    assert [expected_accuracy(build_cfg([*argv, half])[0]) for half in ("base", "new")] == [80.36, 59.18]


@pytest.mark.parametrize(
    "name",
    ["CoOp", "CoCoOp", "MaPLe", "PromptSRC", "PromptKD", "KgCoOp", "DPC_MaPLe", "TPT", "PromptAlign"]
    + ["DePT_CoOp", "DePT_KgCoOp", "DePT_MaPLe", "TCP", "ProGrad"],
)
def test_every_ported_paper_has_numbers_that_its_trainer_finds(name):
    assert papers.find(trainer=name, backbone="ViT-B/16")


def test_promptsync_has_claims_and_no_table():
    (paper,) = [paper for paper in papers.load_papers() if paper.name == "PromptSync"]
    assert paper.rows == () and [value for _, value, _ in paper.facts][::2] == ["+2.33", "+2.84"]


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ("{RN50: {A: [1.0]}}", "Table 9, d, RN50, A: 1 values, 2 columns"),
        ("{RN50: {A: [1.0, x]}}", "could not convert"),
    ],
)
def test_malformed_files_are_one_line_naming_the_file(tmp_path, rows, named):
    path = tmp_path / "bad.yaml"
    path.write_text(
        textwrap.dedent(f"""
        paper: Bad
        arxiv: "1"
        title: t
        trainers: {{}}
        tables: [{{source: Table 9, protocol: p, dataset: d, columns: [a, b], rows: {rows}}}]
    """)
    )
    with pytest.raises(UserError, match=named) as error:
        papers.load_papers(tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_missing_key_is_named(tmp_path):
    (tmp_path / "bad.yaml").write_text("paper: Bad\n")
    with pytest.raises(UserError, match="bad.yaml: key 'arxiv' is missing"):
        papers.load_papers(tmp_path)
