"""Known datasets are whole, or the run says that they are not."""

import dataclasses

import pytest

from dassl.data.datasets import DATASET_REGISTRY
from dassl.utils.errors import UserError
from helpers.dataset_trees import PACS, build, make_imagenet, make_pacs, make_split_set
from helpers.protocol_plans import plan_of, records_of
from promptshift.runs.config import build_cfg
from promptshift.runs.published import published_cells
from promptshift.runs.run import main


def known_totals(monkeypatch, name, totals):
    cls = DATASET_REGISTRY.get(name)
    monkeypatch.setattr(cls, "facts", dataclasses.replace(cls.facts, totals=totals))


def test_a_half_unpacked_dataset_is_refused(tmp_path):
    make_pacs(tmp_path)
    with pytest.raises(UserError, match=r"PACS: 120 of 9,991 images .*sketch: 30 of 3,929.*DATASET.PARTIAL True"):
        build(tmp_path, "PACS", (), ("sketch",), PARTIAL=False)


@pytest.mark.parametrize("name, make", [("Caltech101", make_split_set), ("ImageNet", make_imagenet)])
def test_so_is_one_without_domains(tmp_path, name, make):
    make(tmp_path)
    with pytest.raises(UserError, match=f"{name}: .* of .* images .*train: .*DATASET.PARTIAL True"):
        build(tmp_path, name, PARTIAL=False)
    assert build(tmp_path, name, PARTIAL=True).name == f"{name} (partial)"


def test_a_whole_one_and_one_with_more_images_are_taken(tmp_path, monkeypatch):
    make_pacs(tmp_path)
    for total in (30, 29):
        known_totals(monkeypatch, "PACS", dict.fromkeys(PACS, total))
        assert build(tmp_path, "PACS", (), ("sketch",), PARTIAL=False).name == "PACS"
    known_totals(monkeypatch, "PACS", dict.fromkeys(PACS, 31))
    with pytest.raises(UserError, match="30 of 31"):
        build(tmp_path, "PACS", (), ("sketch",), PARTIAL=False)


def test_only_the_domains_in_use_are_counted(tmp_path, monkeypatch):
    make_pacs(tmp_path)
    known_totals(monkeypatch, "PACS", dict.fromkeys(PACS, 30) | {"photo": 1000})
    assert build(tmp_path, "PACS", ("cartoon",), ("sketch",), PARTIAL=False).name == "PACS"


def test_a_run_on_part_of_a_dataset_is_one_line_before_anything_is_trained(tmp_path, capsys, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))
    make_pacs(tmp_path)
    argv = ["--root", str(tmp_path), "--trainer", "CoOp", "--dataset-config-file", "configs/datasets/pacs.yaml"]
    argv += ["--config-file", "configs/trainers/CoOp/mini.yaml", "--target-domains", "sketch"]
    assert main([*argv, "--output-dir", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith("error: PACS: 120 of 9,991") and "\n" not in line


def test_tables_of_a_partial_dataset_say_so_and_show_no_published_number(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    plan = plan_of("multi_source", "CoOp", "pacs", "RN50", "DATASET.PARTIAL", "True")
    table = plan.table(records_of(plan, dict.fromkeys(PACS, 50.0))).markdown()
    assert "PACS (partial)" in table and "DATASET.PARTIAL" in table and "arXiv 2404.19286" not in table
    whole = plan_of("multi_source", "CoOp", "pacs", "RN50")
    assert "arXiv 2404.19286" in whole.table(records_of(whole, dict.fromkeys(PACS, 50.0))).markdown()
    assert published_cells(build_cfg(list(whole.jobs[0].argv))[0]) and not published_cells(plan.jobs[0].cfg)
    assert plan.jobs[0].config_hash != whole.jobs[0].config_hash
