"""The single-source and the cross-dataset setting: which jobs, which order, which table."""

import pytest

from dassl.utils.errors import UserError
from helpers.protocol_plans import configuration, plan_of, records_of
from promptshift.runs.config import build_cfg
from promptshift.runs.published import expected_accuracy

PACS = ["art_painting", "cartoon", "photo", "sketch"]
DOMAINNET = ["clipart", "infograph", "painting", "quickdraw", "real", "sketch"]


@pytest.fixture(autouse=True)
def output(monkeypatch, tmp_path):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    monkeypatch.setenv("DATA", str(tmp_path / "data"))


def test_single_source_trains_on_each_domain_and_tests_on_all_the_others(tmp_path):
    plan = plan_of("single_source", "CoOp", "pacs", "RN50", seeds=(1, 2))
    assert [job.name for job in plan.jobs] == [f"{domain} seed {seed}" for domain in PACS for seed in (1, 2)]
    job = plan.jobs[4]
    assert job.output_dir == tmp_path / "single_source" / "CoOp" / "PACS" / "default" / "RN50" / "photo" / "seed1"
    cfg, _ = configuration(job)
    assert list(cfg.DATASET.SOURCE_DOMAINS) == ["photo"] and cfg.PROTOCOL == "single_source"
    assert list(cfg.DATASET.TARGET_DOMAINS) == ["art_painting", "cartoon", "sketch"]
    assert expected_accuracy(cfg) == 82.5  # of the column that is trained on
    table = plan.table(records_of(plan, dict(zip(PACS, (90.0, 80.0, 70.0, 60.0)))))
    assert table.header == ("accuracy (%)", *PACS, "average")
    assert [cell.mean for cell in table.rows[0][1:]] == [90, 80, 70, 60, 75]
    assert table.rows[1][0] == "CoOp: SPG (arXiv 2404.19286), Table 12" and table.rows[1][3].mean == 82.5


def test_cross_dataset_trains_once_and_tests_on_whole_datasets(tmp_path):
    plan = plan_of("cross_dataset", "SPG", "domainnet", "ViT-B/16", seeds=(1, 2))
    names = [
        f"{name} seed {seed}" for name in ("train", "PACS", "VLCS", "OfficeHome", "TerraIncognita") for seed in (1, 2)
    ]
    assert [job.name for job in plan.jobs] == names
    assert plan.folder == tmp_path / "cross_dataset" / "SPG" / "DomainNet" / "domainnet" / "ViT-B16"
    train, pacs = plan.jobs[1], plan.jobs[3]
    cfg, args = configuration(train)
    assert list(cfg.DATASET.SOURCE_DOMAINS) == list(cfg.DATASET.TARGET_DOMAINS) == DOMAINNET
    assert cfg.TEST.SPLIT == "val" and not args.eval_only and train.after == () and train.seed == 2
    cfg, args = configuration(pacs)
    assert list(cfg.DATASET.SOURCE_DOMAINS) == list(cfg.DATASET.TARGET_DOMAINS) == PACS
    assert cfg.DATASET.NAME == "PACS" and cfg.DATASET.TEST_ALL and cfg.TEST.SPLIT == "test"
    assert args.eval_only and args.model_dir == str(train.output_dir) and pacs.after == (train.name,)
    assert expected_accuracy(cfg) == 96.7
    assert len({job.config_hash for job in plan.jobs}) == len(plan.jobs)


def test_the_table_of_cross_dataset_has_pooled_accuracies_and_a_note_by_domain():
    plan = plan_of("cross_dataset", "CoOp", "domainnet", "ViT-B/16")
    accuracies = {"PACS": 96.0, "VLCS": 72.0, "OfficeHome": 84.0, "TerraIncognita": 32.0}
    table = plan.table(records_of(plan, accuracies, PACS={"accuracy_photo": 99.5, "accuracy_sketch": 90.25}))
    assert table.header == ("accuracy (%)", *accuracies, "average")
    assert [cell.mean for cell in table.rows[0][1:]] == [96, 72, 84, 32, 71]
    assert [cell.mean for cell in table.rows[1][1:]] == [96.2, 72.8, 83.1, 32.1, 71.1]
    assert "PACS by domain: photo 99.50, sketch 90.25." in table.notes
    assert not any(note.startswith("VLCS by domain") for note in table.notes)
    assert "missing" in str(plan.table({}).rows[0])


def test_the_dataset_trained_on_is_no_target_and_the_mini_world_stays_among_itself():
    def targets(dataset):
        return list(dict.fromkeys(job.cell[1] for job in plan_of("cross_dataset", "CoOp", dataset).jobs))[1:]

    assert targets("pacs") == ["VLCS", "OfficeHome", "TerraIncognita"]
    assert targets("mini") == ["MiniDG2", "MiniDG3"] and targets("mini3") == ["MiniDG", "MiniDG2"]


@pytest.mark.parametrize(
    ("key", "value"), [("DATASET.TARGET_DOMAINS", "['photo']"), ("DATASET.TEST_ALL", "False"), ("TEST.SPLIT", "val")]
)
def test_keys_that_the_setting_fixes_are_refused(key, value):
    with pytest.raises(UserError, match=f"{key} .*: the protocol sets this key itself"):
        plan_of("cross_dataset", "CoOp", "mini", key, value)


def test_testing_on_all_images_is_for_evaluation_only():
    argv = list(plan_of("cross_dataset", "CoOp", "mini").jobs[-1].argv)
    argv.remove("--eval-only")
    with pytest.raises(UserError, match="DATASET.TEST_ALL.*only with --eval-only"):
        build_cfg(argv)


@pytest.fixture
def own_yaml(tmp_path, monkeypatch):
    """A dataset of one's own, as if its YAML were among configs/datasets."""
    for domain in ("day", "night", "dusk"):
        for name in ("cat", "dog"):
            (tmp_path / "data" / "beasts" / domain / name).mkdir(parents=True)
            (tmp_path / "data" / "beasts" / domain / name / "0.jpg").write_bytes(b"")
    path = tmp_path / "beasts.yaml"
    path.write_text("DATASET:\n  NAME: FolderDG\n  FOLDER: beasts\n")
    monkeypatch.setattr("promptshift.protocols.request.dataset_file", lambda name: path)


def test_three_lines_of_yaml_are_enough_for_one_s_own_domains(own_yaml, tmp_path):
    plan = plan_of("multi_source", "CoOp", "beasts")
    assert [job.cell[1] for job in plan.jobs] == ["day", "dusk", "night"]
    assert plan.folder.parts[-3:] == ("FolderDG-beasts", "default", "ViT-B16")
    assert list(configuration(plan.jobs[0])[0].DATASET.SOURCE_DOMAINS) == ["dusk", "night"]
    (tmp_path / "data" / "beasts" / "dusk" / "cat" / "0.jpg").unlink()
    (tmp_path / "data" / "beasts" / "dusk" / "dog" / "0.jpg").unlink()
    with pytest.raises(UserError, match="domain dusk has no images"):
        plan_of("multi_source", "CoOp", "beasts")
