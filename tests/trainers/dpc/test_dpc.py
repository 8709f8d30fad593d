"""DPC against dpc_coop.json (released code on the same weights), and what the paper promises, on runs."""

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import helpers.goldens_recipe as recipe
from helpers.golden_run import golden_run
from helpers.golden_trainers import assert_gradients, assert_logits, assert_parameters, assert_token_ids
from promptshift.protocols.config_files import trainer_file as protocol_file
from promptshift.runs import stages
from promptshift.runs.config import build_cfg
from promptshift.runs.run import main
from trainers.dpc import DPC
from trainers.dpc.dual_prompt import under
from trainers.dpc.hard_negatives import HardNegatives
from trainers.dpc.routing import trained_elsewhere

FILE = recipe.golden("dpc_coop")
CASES = [(case, False) for case in FILE["cases"]] + [(case, True) for case in FILE["variant_no_alias"]]


class OneImageOfEachClass(torch.utils.data.Dataset):
    """The released run's hard-negative images, as dpc_coop.json says they were replaced."""

    def __init__(self, classes):
        self.data_source = [SimpleNamespace(label=label) for label in range(classes)]
        self.read = []

    def __getitem__(self, index):
        self.read.append(int(index))
        return {"img": recipe.images(5000 + int(index), 1)[0], "label": int(index)}


def golden_dpc(*opts):
    """DPC on CoOp on the golden CLIP, P as in the golden file, as it stands before the first step."""
    names = FILE["classnames"]
    trainer = golden_run(
        DPC,
        names,
        "OPTIM.LR",
        0.0035,
        "TRAINER.DPC.BACKBONE_OPTS",
        ["TRAINER.COOP.N_CTX", 4],
        "TRAINER.DPC.WEIGHT",
        0.2,
        *opts,
        images=OneImageOfEachClass(len(names)),
    )
    dual = trainer.duals["prompt_learner"]
    dual.parallel.load_state_dict({"ctx": recipe.train_value("dpc:tuned_ctx", (4, 128), "prompt")})
    dual.adopt()
    trainer.negatives = trainer._sampler()
    return trainer


@pytest.mark.stored
@pytest.mark.parametrize("case, no_alias", CASES)
def test_a_step_equals_the_released_code(case, no_alias):
    golden = FILE["variant_no_alias" if no_alias else "cases"][case]
    weight = golden["w_base"]
    trainer = golden_dpc(
        "TRAINER.DPC.TOP_K",
        golden["INFER_TOPK"],
        "TRAINER.DPC.WEIGHT",
        weight,
        "TRAINER.DPC.EVALUATE",
        "parallel",
        "TRAINER.DPC.LR_SCALE",
        "1/w^2" if no_alias else "1/w",
    )
    images = recipe.images(batch=golden["B"])
    batch = {"img": images, "label": torch.tensor(golden["labels"])}
    with torch.no_grad():
        scores = trainer._scores_of_tuned(batch)
        np.testing.assert_allclose(scores * 5, golden["backbone_cosine_x100"], atol=5e-4)  # golden scale 20, there 100
        assert scores.topk(golden["INFER_TOPK"]).indices.tolist() == golden["topk_indices"]
        assert_token_ids(trainer.backbone.prompt_learner.template, golden["token_ids"])
        assert_logits(trainer.predict(images), golden["eval_logits_init"])
    random.seed(golden["python_random_seed"])
    extended = trainer.negatives.extend(batch, scores)
    assert extended["label"].tolist() == golden["mined_batch"]["labels"]
    assert trainer.negatives.dataset.read == golden["hard_negative_image_class_ids_in_read_order"]
    assert float(extended["img"].norm()) == pytest.approx(golden["mined_batch"]["img_l2"], rel=1e-6)
    with torch.no_grad():
        features, classes = trainer.backbone.learnt_features(extended), trainer.backbone.class_features()
        logits = trainer.clip.logit_scale * features @ classes[extended["label"]].T
        both = [F.cross_entropy(x, torch.arange(len(x))).item() for x in (logits, logits.T)]
        assert both == pytest.approx(golden["ce_img_then_ce_text"], rel=5e-5)
    random.seed(golden["python_random_seed"])
    parts = trainer.loss(batch)
    assert parts["loss"].item() == pytest.approx(golden["loss_summary"]["loss"], rel=5e-5)
    trainer.set_model_mode("train")
    parts["loss"].backward()
    dual = trainer.duals["prompt_learner"]
    ctx = dict(dual.parallel.named_parameters())
    assert_parameters(ctx, golden["ctx_param_init"], rel=1e-6)
    if not no_alias:  # the golden file holds the gradient of the stored tensor, 1/w of that of P'
        trainer.after_backward(["prompt_learner"])
        assert_gradients(ctx, golden["grad"])
        trainer._optims["prompt_learner"].step()
        assert_parameters(ctx, golden["ctx_param_after"])
    else:
        trainer.after_backward(["prompt_learner"])
        stored = ctx["ctx"].grad * weight  # of P + w (P' - P), which the released code stores: w of that of P'
        assert_gradients({"ctx": SimpleNamespace(grad=stored)}, golden["grad"])
        trainer._optims["prompt_learner"].step()
        assert_parameters(dual.mixture(weight), golden["ctx_param_after"])
    assert_parameters({"stack": ctx["ctx"]}, {"stack": golden["effective_prompt_after"]})
    with torch.no_grad():
        assert_logits(trainer.predict(images), golden["eval_logits_after_same_process"], atol=3e-4)
        for name, after in golden["after_load_model"].items():
            half, new_weight = name.split("_wn")
            weight_of_parallel = 1.0 if half == "base" else float(new_weight)
            used = ctx | dual.at(weight_of_parallel)
            assert_parameters({"stack": used["ctx"]}, {"stack": after["effective_prompt"]})
            off = (used["ctx"] - dual.tuned["ctx"]).abs().max().item()
            assert off == pytest.approx(after["max|eff-P|"], rel=5e-4, abs=1e-6)
            logits = under([dual], weight_of_parallel, lambda: trainer.backbone.predict(images))
            assert_logits(logits, after["logits"], atol=3e-4)
        (rule,) = (key for key in golden if key.startswith("paper_rule_base_logits"))
        paper = under([dual], weight**2 if no_alias else weight, lambda: trainer.backbone.predict(images))
        assert_logits(paper, golden[rule], atol=3e-4)
        if not no_alias:
            trainer.options.EVALUATE = "mixture"
            assert_logits(trainer.predict(images), golden[rule], atol=3e-4)


def test_the_first_step_of_equal_prompts_leaves_weighting_without_effect():
    trainer, images = golden_dpc(), recipe.images()
    with torch.no_grad():
        for weight in (0.0, 0.2, 1.0):
            torch.testing.assert_close(
                under(trainer.duals.values(), weight, lambda: trainer.backbone.predict(images)),
                trainer.backbone.predict(images),
                atol=1e-4,
                rtol=0,
            )


def golden_after_moving(*opts):
    """DPC whose P' differs from P."""
    trainer = golden_dpc(*opts)
    with torch.no_grad():
        trainer.backbone.prompt_learner.ctx += 0.05 * torch.from_numpy(recipe.normal("move", (4, 128))).float()
    return trainer


def test_negatives_are_those_of_the_tuned_prompt_whatever_has_been_learnt():
    before, after, batch = golden_dpc(), golden_after_moving(), {"img": recipe.images()}
    scores = after._scores_of_tuned(batch)
    torch.testing.assert_close(scores, before._scores_of_tuned(batch), atol=1e-4, rtol=0)
    with torch.no_grad():
        assert (scores - after.backbone.predict(batch["img"])).abs().max() > 0.1


@pytest.mark.parametrize(
    "opts, weight",
    [
        ([], 0.2),
        (["EVALUATE", "parallel"], 1.0),
        (["WEIGHT", 1.0], 1.0),
        (["WEIGHT", 0.0], 0.0),
        (["SUBSAMPLE", "new"], 0.0),
        (["SUBSAMPLE", "new", "WEIGHT_FOR_NEW", 0.3], 0.3),
        (["SUBSAMPLE", "new", "DECOUPLE", False], 0.2),
        (["SUBSAMPLE", "new", "DECOUPLE", False, "EVALUATE", "parallel"], 1.0),
    ],
)
def test_which_prompt_is_tested(opts, weight):
    """Table 5 of the paper by keys: the context is w P' + (1 - w) P, also through CoOp's cache of class features."""
    named = [
        "DATASET.SUBSAMPLE_CLASSES" if word == "SUBSAMPLE" else f"TRAINER.DPC.{word}" if i % 2 == 0 else word
        for i, word in enumerate(opts)
    ]
    trainer, images = golden_after_moving(*named), recipe.images()
    learner, dual = trainer.backbone.prompt_learner, trainer.duals["prompt_learner"]
    with torch.no_grad():
        first = trainer.predict(images)
        mixed = weight * learner.ctx + (1 - weight) * dual.tuned["ctx"]
        expected = trainer.clip.logit_scale * trainer.encode_images(images) @ learner.template.features(mixed).T
        torch.testing.assert_close(first, expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(trainer.predict(images), first, atol=0, rtol=0)
        learner.ctx *= 1.5
        changed = trainer.predict(images)
    assert (changed - first).abs().max() > 1e-4 or weight == 0


def test_losses_of_the_ablations():
    batch = {"img": recipe.images(), "label": torch.tensor([0, 3, 5, 3])}
    values = {}
    for loss in ("contrastive", "ce"):
        for mined in (True, False):
            for masked in (True, False):
                trainer = golden_dpc("TRAINER.DPC.LOSS", loss, "TRAINER.DPC.MASK_DUPLICATES", masked)
                trainer.negatives = trainer.negatives if mined else None
                random.seed(0)
                values[loss, mined, masked] = trainer.loss(batch)["loss"].item()
    logits = trainer.backbone.predict(batch["img"])
    assert values["ce", False, False] == pytest.approx(F.cross_entropy(logits, batch["label"]).item(), rel=1e-5)
    assert values["ce", True, True] == values["ce", True, False] != values["ce", False, False]
    square = logits[:, batch["label"]]
    own = torch.arange(4)
    expected = (F.cross_entropy(square, own) + F.cross_entropy(square.T, own)) / 2
    assert values["contrastive", False, False] == pytest.approx(expected.item(), rel=1e-5)
    square = square.clone()
    square[1, 3] = square[3, 1] = -torch.inf  # both show class 3
    expected = (F.cross_entropy(square, own) + F.cross_entropy(square.T, own)) / 2
    assert values["contrastive", False, True] == pytest.approx(expected.item(), rel=1e-5)


def test_images_stand_alone(assert_images_stand_alone):
    assert_images_stand_alone(golden_after_moving())
    new = ["DATASET.SUBSAMPLE_CLASSES", "new", "TRAINER.DPC.WEIGHT_FOR_NEW", 0.5]
    assert_images_stand_alone(golden_after_moving(*new))


def test_a_route_is_the_tuned_prompts_and_each_images_own():
    trainer, images = golden_after_moving("TRAINER.DPC.ROUTE", "auto"), recipe.images(batch=12)
    with torch.no_grad():
        tuned, mixed = (under(trainer.duals.values(), w, lambda: trainer.backbone.predict(images)) for w in (0.0, 0.2))
        logits = trainer.predict(images)
        for i in range(12):
            torch.testing.assert_close(trainer.predict(images[i : i + 1])[0], logits[i], atol=1e-4, rtol=0)
    to_base = tuned[:, :6].amax(dim=1) >= tuned[:, 6:].amax(dim=1)
    assert 0 < to_base.sum() < 12, "the images must not all go one way"
    for base, own, other in ((True, slice(0, 6), slice(6, 12)), (False, slice(6, 12), slice(0, 6))):
        rows = to_base == base
        torch.testing.assert_close(logits[rows][:, own], (mixed if base else tuned)[rows][:, own])
        assert bool(logits[rows][:, other].isneginf().all())


BASE = ["DATASET.SUBSAMPLE_CLASSES", "base", "DATASET.NUM_SHOTS", 2]
NEW = ["DATASET.SUBSAMPLE_CLASSES", "new", "DATASET.NUM_SHOTS", 2]


def moved(folder):
    """The state of a finished run of DPC on CoOp, in which P' is no longer P."""
    state = torch.load(folder / "prompt_learner" / "model.pth.tar-2", weights_only=True)["state_dict"]
    assert list(state) == ["ctx", "tuned.ctx"] and 1e-6 < (state["ctx"] - state["tuned.ctx"]).abs().max() < 1
    return state


def test_new_classes_get_exactly_the_backbones_predictions(run, build, tmp_path):
    run("CoOp", *BASE, folder="coop")
    new = run("CoOp", *NEW, folder="coop_new", model_dir="coop")
    named = ["TRAINER.DPC.BACKBONE_RUN", tmp_path / "coop"]
    base = run("DPC", *BASE, *named, folder="dpc")
    state = moved(tmp_path / "dpc")
    coop = torch.load(tmp_path / "coop" / "prompt_learner" / "model-best.pth.tar", weights_only=True)["state_dict"]
    assert torch.equal(state["tuned.ctx"], coop["ctx"])
    assert not (tmp_path / "output" / "stages").exists(), "the named run is used"
    assert run("DPC", *BASE, *named, folder="again", model_dir="dpc")["metrics"] == base["metrics"]
    assert run("DPC", *NEW, *named, folder="dpc_new", model_dir="dpc")["metrics"] == new["metrics"]
    coop, dpc = build("CoOp", *NEW), build("DPC", *NEW, *named)
    coop.load_model(str(tmp_path / "coop"))
    dpc.load_model(str(tmp_path / "dpc"), epoch=2)
    images = next(iter(coop.test_loader))["img"]
    with torch.no_grad():
        assert torch.equal(coop.model_inference(images), dpc.model_inference(images))


def test_an_interrupted_run_ends_like_one_that_was_not(run, command, tmp_path, monkeypatch):
    whole = run("DPC", *BASE, folder="whole")
    before = DPC.before_epoch

    def stop(trainer):
        before(trainer)
        if type(trainer) is DPC and trainer.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DPC, "before_epoch", stop)
        main(command("DPC", *BASE, folder="parts"))
    random.seed(5)
    assert run("DPC", *BASE, folder="parts")["history"] == whole["history"]
    ends = [moved(tmp_path / name) for name in ("whole", "parts")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert "DPC's backbone CoOp: found in" in (tmp_path / "parts" / "log.txt").read_text()


def test_being_told_nothing_is_measured(run):
    run("DPC", *BASE, folder="dpc")
    told = {half[1]: run("DPC", *half, folder=half[1], model_dir="dpc")["metrics"]["accuracy"] for half in (BASE, NEW)}
    record = run("DPC", "DATASET.NUM_SHOTS", 2, "TRAINER.DPC.ROUTE", "auto", folder="auto", model_dir="dpc")
    d = record["diagnostics"]
    assert d["told_base"] == pytest.approx(told["base"]) and d["told_new"] == pytest.approx(told["new"])
    assert 50 < d["route_accuracy"] <= 100 and d["routed_base"] <= d["told_base"] and d["routed_new"] <= d["told_new"]
    assert d["route_costs_H"] == pytest.approx(d["told_H"] - d["routed_H"])
    right = record["metrics"]["correct"] / record["metrics"]["total"]
    assert 100 * right == pytest.approx((d["routed_base"] + d["routed_new"]) / 2, abs=1e-6)  # halves of equal size


def test_stored_views_train_too(run, tmp_path):
    run("DPC", *BASE, "DATALOADER.TRAIN_X.FEATURE_VIEWS", 2)
    moved(tmp_path / "run")


@pytest.mark.parametrize("backbone", ["KgCoOp", "MaPLe", "IVLP", "PromptSRC"])
def test_other_backbones_train_and_keep_new_classes(backbone, run, tmp_path):
    named = ["TRAINER.DPC.BACKBONE", backbone, "TRAINER.DPC.BACKBONE_OPTS", "['OPTIM.MAX_EPOCH', 1]"]
    record = run("DPC", *BASE, *named, "OPTIM.MAX_EPOCH", 1, folder="dpc")
    assert all(torch.isfinite(torch.tensor(epoch["loss"])) for epoch in record["history"])
    stage = next((tmp_path / "output" / "stages").rglob("result.json")).parent
    alone = run(backbone, *NEW, folder="new", model_dir=str(stage))
    assert run("DPC", *NEW, *named, folder="dpc_new", model_dir="dpc")["metrics"] == alone["metrics"]


@pytest.mark.parametrize(
    "opts, words",
    [
        (["TRAINER.DPC.TOP_K", 11], ["TRAINER.DPC.TOP_K", "11", "2 to 10"]),
        (["TRAINER.DPC.BACKBONE", "MapLe"], ["TRAINER.DPC.BACKBONE", "MapLe", "did you mean 'MaPLe'"]),
        (["TRAINER.DPC.BACKBONE_RUN", "/nowhere"], ["TRAINER.DPC.BACKBONE_RUN", "/nowhere"]),
        (["TRAINER.DPC.WEIGHT", 1.5], ["TRAINER.DPC.WEIGHT", "1.5", "0 to 1"]),
        (["TRAINER.DPC.WEIGHT", 0.0, "TRAINER.DPC.LR_SCALE", "1/w"], ["LR_SCALE", "WEIGHT"]),
        (["TRAINER.DPC.ROUTE", "auto"], ["TRAINER.DPC.ROUTE", "SUBSAMPLE_CLASSES", "all"]),
        (["DATASET.SUBSAMPLE_CLASSES", "all", "TRAINER.DPC.ROUTE", "auto"], ["TRAINER.DPC.ROUTE", "--eval-only"]),
        (["DATASET.SUBSAMPLE_CLASSES", "new", "TRAINER.COOP.CSC", True], ["TRAINER.COOP.CSC", "False"]),
        (["DATASET.NUM_SHOTS", 400], ["DATASET.NUM_SHOTS", "400", "fewer"]),
        (["SPLE.STACK.MODE", "void"], ["SPLE.STACK.MODE", "void", "converse"]),
        (["TRAINER.DPC.BACKBONE", "MaPLe", "DATALOADER.TRAIN_X.FEATURE_VIEWS", 2], ["FEATURE_VIEWS", "0"]),
        (["TRAINER.DPC.NEGATIVE_VIEW", "test", "DATALOADER.TRAIN_X.FEATURE_VIEWS", 2], ["NEGATIVE_VIEW", "train"]),
        (["TRAINER.DPC.BACKBONE_OPTS", "['OPTIM.LR']"], ["OPTIM.LR", "KEY VALUE"]),
        (["TRAINER.DPC.BACKBONE_CONFIG", "rn50_ep5"], ["rn50_ep5", "did you mean 'rn50_ep50'"]),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(opts, words, refused):
    line = refused("DPC", *BASE, *opts)
    assert all(word in line for word in words), line


def test_another_run_is_refused_by_what_differs(run, refused, tmp_path):
    run("CoOp", *BASE, "OPTIM.MAX_EPOCH", 1, folder="coop")
    for i, (change, words) in enumerate(
        [
            (["SEED", 2], ["SEED 1", "expected 2"]),
            (["DATASET.NUM_SHOTS", 4], ["DATASET.NUM_SHOTS 2", "expected 4"]),
            (["DATASET.SUBSAMPLE_CLASSES", "all"], ["DATASET.SUBSAMPLE_CLASSES base", "expected all"]),
            (["DATASET.SOURCE_DOMAINS", "['photo']"], ["DATASET.SOURCE_DOMAINS", "photo"]),
            (["TRAINER.DPC.BACKBONE", "KgCoOp"], ["a run of CoOp", "expected KgCoOp"]),
            (["TRAINER.COOP.N_CTX", 7], ["TRAINER.COOP.N_CTX", "7", "16"]),
        ]
    ):
        own = ["OUTPUT_DIR", tmp_path / f"refused{i}"]
        line = refused("DPC", *BASE, "TRAINER.DPC.BACKBONE_RUN", tmp_path / "coop", *own, *change)
        assert "BACKBONE_RUN" in line and all(word in line for word in words), line


@pytest.mark.parametrize("path", sorted(Path("configs/trainers/SPLE").rglob("*.yaml")), ids=str)
def test_released_configurations_are_accepted(path, mini_root):
    cfg, _ = build_cfg(
        [
            "--root",
            str(mini_root),
            "--dataset-config-file",
            "configs/datasets/oxford_pets.yaml",
            "--config-file",
            str(path),
            "DATASET.SUBSAMPLE_CLASSES",
            "base",
        ]
    )
    o = cfg.TRAINER.DPC
    assert o.BACKBONE == path.parent.name and o.WEIGHT in (0.2, 0.5) and o.TOP_K in (2, 4, 8)
    assert o.NEGATIVE_VIEW == ("test" if o.BACKBONE == "PromptKD" else "train") and o.BACKBONE_OPTS


def test_weights_of_another_dataset_are_asked_as_of_new_classes():
    """All classes of the dataset trained on see the mixture, all classes of another one exactly P."""
    trainer, images = golden_after_moving("TRAINER.DPC.EVALUATE", "mixture"), recipe.images()
    with torch.no_grad():
        known = trainer.predict(images)
        trainer.elsewhere = True
        tuned = under(trainer.duals.values(), 0.0, lambda: trainer.backbone.predict(images))
        torch.testing.assert_close(trainer.predict(images), tuned)
        assert not torch.equal(known, tuned)


@pytest.mark.parametrize("dataset, elsewhere", [("ImageNet", False), ("ImageNetA", True), ("EuroSAT", True)])
def test_released_weights_count_as_imagenets(dataset, elsewhere, tmp_path):
    cfg = configuration("caltech101")
    cfg.defrost()
    cfg.DATASET.NAME = dataset
    assert trained_elsewhere(tmp_path, cfg) is elsewhere


@pytest.mark.parametrize("dataset, elsewhere", [("EuroSAT", False), ("DTD", True)])
def test_a_run_says_which_dataset_it_was_trained_on(dataset, elsewhere, tmp_path):
    cfg = configuration("eurosat")
    (tmp_path / "config.yaml").write_text(cfg.dump())
    cfg.defrost()
    cfg.DATASET.NAME = dataset
    assert trained_elsewhere(tmp_path, cfg) is elsewhere


def configuration(dataset):
    file = protocol_file("DPC", dataset)
    argv = ["--trainer", "DPC", "--dataset-config-file", f"configs/datasets/{dataset}.yaml", "--config-file", str(file)]
    return build_cfg([*argv, "DATASET.SUBSAMPLE_CLASSES", "base"])[0]


def test_defaults_are_the_papers_on_every_dataset():
    assert configuration("eurosat").TRAINER.DPC.TOP_K == 5 and configuration("dtd").TRAINER.DPC.TOP_K == 8
    cfg = configuration("dtd")
    step_one = stages.configuration(cfg, *DPC.stages(cfg))
    assert cfg.OPTIM.MAX_EPOCH == step_one.OPTIM.MAX_EPOCH == 20


@pytest.mark.parametrize("last_class, drawn", [(False, {1, 2}), (True, {1, 2, 3})])
def test_random_negatives_are_drawn_from_the_released_range(last_class, drawn):
    sampler = HardNegatives(OneImageOfEachClass(4), list(range(4)), 4, 2, True, "TOP_K", last_class)
    random.seed(0)
    found = set()
    for _ in range(50):
        chosen = []
        sampler._fill(chosen, set())
        found.update(chosen)
    assert found == drawn
