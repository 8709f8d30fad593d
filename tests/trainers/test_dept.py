"""DePT against dept.json: released DePT on four methods; which classes its head is for; its rates."""

import pytest
import torch

import helpers.goldens_recipe as recipe
from helpers.golden_trainers import (
    assert_case,
    assert_logits,
    saved_as_released,
    trainer_of_case,
)
from promptshift.runs.config import build_cfg
from promptshift.runs.run import main
from trainers.dept import DePT

FILE = recipe.golden("dept")
CASES = FILE["cases"]
METHODS = {"coop": ("CoOp", "COOP"), "cocoop": ("CoCoOp", "COCOOP"), "kgcoop": ("KgCoOp", "KGCOOP")}
METHODS["maple"] = ("MaPLe", "MAPLE")


def golden_dept(case, classnames=FILE["classnames"], *opts, file=FILE, seed=0):
    golden = file["cases"][case]
    config, groups = golden["config"], golden["optim"]["param_groups"]
    method, block = METHODS[config["backbone_method"]]
    host = dict(N_CTX=config["n_ctx"], CTX_INIT=config["init"])
    host |= {"CSC": True} if config.get("csc") else {}
    host |= {"PROMPT_DEPTH": config["depth"]} if "depth" in config else {}
    host |= {"W": config["kg_weight"], "DISTANCE": "cosine"} if "kg_weight" in config else {}
    own = dict(BACKBONE=method, HEAD=config["lp_type"], WEIGHT=config["lp_weight"], FILM=config["film"])
    own |= dict(FUSION=config["test_time_fusion"])
    own |= dict(BACKBONE_OPTS=[word for key in host for word in (f"TRAINER.{block}.{key}", host[key])])
    words = [word for key, value in own.items() for word in (f"TRAINER.DEPT.{key}", value)]
    words += ["DATASET.SUBSAMPLE_CLASSES", config["subsample"], *opts]
    optim = {**groups[0], "class": golden["optim"]["class"]}
    trainer = trainer_of_case(DePT, golden, classnames, *words, seed=seed, optim=optim)
    learnt = [set(group["trainable_params"]) & set(golden["trainable"]) for group in groups]  # KgCoOp's has idle ones
    rates = [(group["lr"], len(names)) for group, names in zip(groups, learnt) if names]
    found = [(g["lr"], len(g["params"])) for g in trainer._optims[trainer.get_model_names()[0]].param_groups]
    assert found == [(pytest.approx(rate), count) for rate, count in rates]
    return trainer, golden


@pytest.mark.parametrize("case", CASES)
def test_three_steps_equal_the_released_code(case):
    trainer, golden = golden_dept(case)
    data, _ = assert_case(trainer, golden)
    images = data["img"]
    state = saved_as_released(trainer, golden) if "checkpoint" in golden else trainer.prompts.state_dict()
    with torch.no_grad():
        assert_logits(trainer.predict(images), golden["logits_after_step"], atol=3e-4)
        if "new_classes_after_step" in golden:
            new = golden["new_classes_after_step"]
            other = of_other_classes(case, new["classnames"], "DATASET.SUBSAMPLE_CLASSES", "new")
            for saved in (state, {key: value for key, value in state.items() if key != "linear_probe_classes"}):
                other.prompts.load_state_dict(saved)
                assert_logits(other.predict(images), new["logits"], atol=3e-4)


def of_other_classes(case, classnames, *opts):
    """The trainer of a golden case for other classes; only what does not depend on their number is the case's."""
    golden = CASES[case]
    sizes = {name: t for name, t in golden["trainable"].items() if not name.startswith("linear_probe")}
    others = {name: t | {"key": None} for name, t in golden["trainable"].items()} | sizes
    return golden_dept(case, classnames, *opts, file={"cases": {case: golden | {"trainable": others}}})[0]


@pytest.mark.parametrize("case", CASES)
def test_the_parts_of_the_loss_and_of_the_prediction(case):
    trainer, golden = golden_dept(case)
    data = {"img": recipe.images(), "label": torch.tensor(golden["batch"]["labels"])}
    parts, expected = trainer.loss(data), golden["components"]
    weight = expected["lp_weight"]
    assert parts["similarity"].item() == pytest.approx((1 - weight) * expected["loss_similarity"], rel=5e-5)
    assert parts["head"].item() == pytest.approx(weight * expected["loss_head"], rel=5e-5)
    if "kg_weight" in expected:
        distance = expected["kg_weight"] * expected["one_minus_mean_cosine"]
        assert parts["knowledge"].item() == pytest.approx(distance, rel=5e-5)
    if "logits_init_similarity" in golden:
        with torch.no_grad():
            trainer.prompts.fused = False
            assert_logits(trainer.predict(data["img"]), golden["logits_init_similarity"])
            trainer.prompts.fused, trainer.options.FUSION = True, False
            assert_logits(trainer.predict(data["img"]), golden["logits_init_probe"])


@pytest.mark.parametrize("target", CASES["coop_n4_imagenet_all"]["cross_dataset_after_step"])
def test_other_datasets_get_the_rows_of_their_classes_or_none(target):
    trainer, golden = golden_dept("coop_n4_imagenet_all")
    data, _ = assert_case(trainer, golden)
    expected = golden["cross_dataset_after_step"][target]
    other = of_other_classes("coop_n4_imagenet_all", expected["classnames"], "DATASET.NAME", expected["dataset"])
    other.prompts.load_state_dict(trainer.prompts.state_dict())
    assert other.prompts.fused is (target != "other")
    with torch.no_grad():
        assert_logits(other.predict(data["img"]), expected["logits"], atol=3e-4)


def test_released_checkpoints_of_imagenet_serve_its_variants(tmp_path):
    """They name no classes: the rows are those of classnames.txt."""
    trainer, golden = golden_dept("coop_n4_imagenet_all")
    (tmp_path / "imagenet").mkdir()
    lines = [f"n{i:08} {name}\n" for i, name in enumerate(FILE["classnames"])]
    (tmp_path / "imagenet" / "classnames.txt").write_text("".join(lines))
    released = {name: value for name, value in trainer.prompts.state_dict().items() if "classes" not in name}
    for dataset, count in (("ImageNetR", 3), ("ImageNetV2", 6), ("Caltech101", 6)):
        names = FILE["classnames"][:count]
        own = ["DATASET.NAME", dataset, "DATASET.ROOT", str(tmp_path)]
        other = of_other_classes("coop_n4_imagenet_all", names, *own)
        other.prompts.load_state_dict(released)
        assert other.prompts.fused is (dataset != "Caltech101")
        if other.prompts.fused:
            assert torch.equal(other.prompts.linear_probe_proj.weight, released["linear_probe_proj.weight"][:count])


def test_the_rates_of_every_epoch_are_the_released_ones():
    golden = CASES["coop_n4"]
    words = ["OPTIM.MAX_EPOCH", 10, "OPTIM.LR_SCHEDULER", "cosine", "OPTIM.WARMUP_EPOCH", 1]
    words += ["OPTIM.WARMUP_TYPE", "constant", "TRAINER.DEPT.BACKBONE_OPTS", ["TRAINER.COOP.N_CTX", 4]]
    optim = {**golden["optim"]["param_groups"][0], "class": "SGD"}
    trainer = trainer_of_case(DePT, golden, FILE["classnames"], *words, optim=optim)
    found = []
    for _ in range(10):
        found.append([group["lr"] for group in trainer._optims["PromptLearner"].param_groups])
        trainer._optims["PromptLearner"].step()
        trainer.update_lr()
    rates = FILE["lr_per_epoch_as_shipped_10_epochs_warmup_1"]
    assert [list(part) for part in zip(*found)] == [
        pytest.approx(rates[key], rel=1e-6) for key in ("prompt_group", "head_and_film_group")
    ]


@pytest.mark.parametrize("case", ["coop_n4", "maple_depth3_n2", "cocoop_words_n4", "coop_n4_similarity_head"])
def test_images_stand_alone(case, assert_images_stand_alone):
    assert_images_stand_alone(golden_dept(case)[0])


BASE = ["DATASET.SUBSAMPLE_CLASSES", "base", "DATASET.NUM_SHOTS", 2]
NEW = ["DATASET.SUBSAMPLE_CLASSES", "new", "DATASET.NUM_SHOTS", 2]


@pytest.mark.parametrize("backbone", ["CoOp", "CoCoOp", "KgCoOp", "MaPLe"])
def test_base_classes_are_fused_and_new_ones_see_the_prompts_alone(backbone, run, build, tmp_path):
    own = ["TRAINER.DEPT.BACKBONE", backbone]
    record = run("DePT", *BASE, *own)
    assert record["history"][0]["head"] > 0
    assert run("DePT", *BASE, *own, folder="again", model_dir="run")["metrics"] == record["metrics"]
    new = run("DePT", *NEW, *own, folder="new", model_dir="run")["metrics"]
    trainer = build("DePT", *NEW, *own)
    trainer.load_model(str(tmp_path / "run"), epoch=2)
    images = next(iter(trainer.test_loader))["img"]
    with torch.no_grad():
        assert torch.equal(trainer.model_inference(images), trainer.backbone.model_inference(images))
    assert not trainer.prompts.fused and 0 <= new["accuracy"] <= 100


def test_an_interrupted_run_ends_like_one_that_was_not(run, command, tmp_path, monkeypatch):
    whole = run("DePT", "OPTIM.MAX_EPOCH", 3, folder="whole")
    before = DePT.before_epoch

    def stop(trainer):
        before(trainer)
        if trainer.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DePT, "before_epoch", stop)
        main(command("DePT", "OPTIM.MAX_EPOCH", 3, folder="parts"))
    assert run("DePT", "OPTIM.MAX_EPOCH", 3, folder="parts")["history"] == whole["history"]


def test_stored_views_train_too_and_are_not_those_of_coop(run, tmp_path):
    run("CoOp", "DATALOADER.TRAIN_X.FEATURE_VIEWS", 1, "OPTIM.MAX_EPOCH", 1, folder="coop")
    before = len(list((tmp_path / "output" / "features").rglob("*.safetensors")))
    run("DePT", "DATALOADER.TRAIN_X.FEATURE_VIEWS", 1, "OPTIM.MAX_EPOCH", 1)
    assert len(list((tmp_path / "output" / "features").rglob("*.safetensors"))) == 2 * before


RELEASED = {
    "ExtrasLinearProbeCoOp": ("CoOp", {"N_CTX": 16, "CTX_INIT": ""}, []),
    "ELP_CoOp": ("CoOp", {"N_CTX": 8}, ["TRAINER.COOP.N_CTX", "8"]),
    "ExtrasLinearProbeKgCoOp": (
        "KgCoOp",
        {"N_CTX": 4, "CTX_INIT": "a photo of a", "W": 2.0, "DISTANCE": "cosine"},
        "TRAINER.COOP.CTX_INIT,a photo of a,TRAINER.COOP.N_CTX,4,TRAINER.COOP.ALPHA,1.0,TRAINER.COOP.W,2.0".split(","),
    ),
    "ExtrasLinearProbeMaPLe": ("MaPLe", {"PROMPT_DEPTH": 9}, ["TRAINER.MAPLE.PREC", "fp16"]),
    "ExtrasLinearProbeCoCoOp": ("CoCoOp", {"N_CTX": 4}, ["TRAINER.COCOOP.N_CTX", "4"]),
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_names_and_keys_are_understood(name, mini_root):
    backbone, host, words = RELEASED[name]
    argv = ["--root", str(mini_root), "--trainer", name, "--dataset-config-file", "configs/datasets/oxford_pets.yaml"]
    argv += ["--backbone", "ViT-B/16", "DATASET.SUBSAMPLE_CLASSES", "base", *words]
    argv += ["TRAINER.LINEAR_PROBE.TYPE", "linear", "TRAINER.LINEAR_PROBE.WEIGHT", "0.5", "OPTIM.LR_EXP", "3.0"]
    argv += ["TRAINER.LINEAR_PROBE.TEST_TIME_FUSION", "False", "TRAINER.FILM.LINEAR_PROBE", "False"]
    argv += ["OPTIM.STAGED_LR", "True", "OPTIM.BASE_LR_MULT", "1.0", "OPTIM.NEW_LAYERS", "['linear_probe', 'film']"]
    argv += ["TRAINER.NAMES_TO_UPDATE", "['prompt_learner', 'linear_probe', 'film']"]
    o = build_cfg(argv)[0].TRAINER.DEPT
    assert (o.BACKBONE, o.HEAD, o.WEIGHT, o.FUSION, o.FILM, o.LR_EXP) == (backbone, "linear", 0.5, False, False, 3.0)
    found = dict(zip(o.BACKBONE_OPTS[::2], o.BACKBONE_OPTS[1::2]))
    assert {key: found[next(full for full in found if full.endswith(f".{key}"))] for key in host} == host


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        (["TRAINER.DEPT.BACKBONE", "VPT"], ["TRAINER.DEPT.BACKBONE", "VPT", "CoOp, CoCoOp, KgCoOp, MaPLe"]),
        (["TRAINER.DEPT.WEIGHT", 1.5], ["TRAINER.DEPT.WEIGHT", "1.5", "0 to 1"]),
        (["TRAINER.DEPT.BACKBONE_OPTS", "['OPTIM.LR', 1.0]"], ["OPTIM.LR", "TRAINER.COOP"]),
        (["TRAINER.DEPT.BACKBONE_OPTS", "['TRAINER.COOP.N_CTX', 0]"], ["TRAINER.COOP.N_CTX", "0", "1 and more"]),
        (["OPTIM.NEW_LAYERS", "['film']"], ["RELEASED.NEW_LAYERS", "film"]),
        ([*NEW, "TRAINER.COOP.CSC", True], ["TRAINER.COOP.CSC", "False"]),
        (["TRAINER.DEPT.BACKBONE", "MaPLe", "DATALOADER.TRAIN_X.FEATURE_VIEWS", 2], ["FEATURE_VIEWS", "0"]),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(opts, words, refused):
    line = refused("DePT", *opts)
    assert all(word in line for word in words), line


def test_the_head_of_another_kind_is_refused():
    state = golden_dept("coop_n4_similarity_head")[0].prompts.state_dict()
    with pytest.raises(RuntimeError, match="linear_probe_proj.weight"):
        golden_dept("coop_n4")[0].prompts.load_state_dict(state)
