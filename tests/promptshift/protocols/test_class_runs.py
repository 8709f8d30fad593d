"""The protocols over classes, run for real on a small rendering of the mini world."""

import pytest

from helpers.protocol_plans import plan_of
from promptshift.mini import render_world
from promptshift.mini.worlds import MINI_B2N, MINI_B2N_STYLES
from promptshift.runs.run import main

SMALL = ("OPTIM.MAX_EPOCH", "2", "DATALOADER.TRAIN_X.FEATURE_VIEWS", "1", "DATASET.NUM_SHOTS", "4")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    render_world(MINI_B2N, root / "mini_b2n", per_class=9)
    render_world(MINI_B2N_STYLES, root / "mini_b2n_styles", per_class=1)
    return root


@pytest.fixture
def perform(data, monkeypatch, tmp_path, request):
    """perform(protocol, trainer, *words) -> the plan, after all its jobs have run, and their records by name."""
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    monkeypatch.setenv("DATA", str(data))
    monkeypatch.chdir(request.config.rootpath)
    monkeypatch.setattr("datasets._image_readers.MINI_TRAIN", 4)  # of 9 images of a class; 2 are val, 3 test
    monkeypatch.setattr("datasets._image_readers.MINI_VAL", 2)

    def run(protocol, trainer, *words, **more):
        plan = plan_of(protocol, trainer, *words, **more)
        for job in plan.jobs:
            assert main(list(job.argv)) == 0
        return plan, {job.name: job.record() for job in plan.jobs}

    return run


def test_base_to_new_ends_in_base_new_and_h(perform):
    plan, records = perform("base_to_new", "CoOp", "mini_b2n", *SMALL)
    base, new = records["MiniB2N base seed 1"], records["MiniB2N new seed 1"]
    assert (base["classes"], new["classes"]) == ("base", "new") and (base["shots"], new["shots"]) == (4, 4)
    assert base["metrics"]["total"] == new["metrics"]["total"] == 10 * 3
    assert (plan.jobs[1].output_dir / "classes.json").read_text().split('"')[1] == "flower"
    row = plan.table(records).rows[0]
    b, n = base["metrics"]["accuracy"], new["metrics"]["accuracy"]
    assert [cell.mean for cell in row[1:]] == pytest.approx([b, n, 2 * b * n / (b + n)])


def test_the_trained_prompts_are_what_is_evaluated(perform):
    plan, records = perform(
        "imagenet_variants", "CoOp", "mini_b2n", *SMALL, "OPTIM.LR", "5.0", targets=("mini_b2n_sketch",)
    )
    zero, other = perform("imagenet_variants", "ZeroshotCLIP", "mini_b2n", targets=("mini_b2n_sketch",))
    assert records["MiniB2NSketch seed 1"]["metrics"]["total"] == 20
    log = (plan.jobs[1].output_dir / "log.txt").read_text()
    assert str(plan.jobs[0].output_dir) in log and records["MiniB2NSketch seed 1"]["protocol"] == "imagenet_variants"
    assert records["MiniB2NSketch seed 1"]["metrics"] != other["MiniB2NSketch seed 1"]["metrics"]
    assert zero.table(other).rows[0][-1].mean == other["MiniB2NSketch seed 1"]["metrics"]["accuracy"]


def test_weights_chosen_on_test_images_are_labelled_in_result_and_table(perform):
    leaking = (*SMALL, "DATASET.VARIANT", "val_is_test", "TEST.FINAL_MODEL")
    plan, records = perform("base_to_new", "CoOp", "mini_b2n", *leaking, "best_val")
    assert {record["selection"] for record in records.values()} == {"oracle"}
    assert "oracle (on the test images themselves" in plan.table(records).markdown()
    _, last = perform("base_to_new", "CoOp", "mini_b2n", *leaking, "last_step")
    assert {record["selection"] for record in last.values()} == {"last_step"}


def test_weights_from_elsewhere_are_evaluated_on_both_halves(perform, tmp_path):
    trained, own = perform("base_to_new", "CoOp", "mini_b2n", *SMALL)
    _, records = perform("base_to_new", "CoOp", "mini_b2n", *SMALL, weights=str(trained.jobs[0].output_dir.parent))
    for half in ("base", "new"):
        assert records[f"MiniB2N {half} seed 1"]["metrics"] == own[f"MiniB2N {half} seed 1"]["metrics"]
    assert (tmp_path / "reproduce" / "base2new" / "test_base" / "mini_b2n").is_dir()


def test_nothing_is_trained_on_test_images(perform, capsys):
    job = plan_of("few_shot", "CoOp", "mini_b2n_sketch").jobs[0]
    assert main(list(job.argv)) == 2
    assert "MiniB2NSketch has test images only" in capsys.readouterr().err
