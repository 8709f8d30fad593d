"""PromptKD against promptkd.json (released code on the same weights), and what the paper promises, on runs."""

import json

import pytest
import torch

import helpers.goldens_recipe as recipe
from dassl.engine import TrainerBase
from dassl.utils import save_checkpoint
from dassl.utils.errors import UserError
from helpers.golden_run import golden_run
from helpers.golden_trainers import assert_gradients, assert_logits, assert_parameters
from promptshift.modeling.clip import _build, empty_clip
from promptshift.runs.finished_run import load_weights
from trainers.independentVL import IVLP
from trainers.promptkd import PromptKD

FILE = recipe.golden("promptkd")
CASES = FILE["cases"]
PROMPTS = ["N_CTX_VISION", 2, "N_CTX_TEXT", 2, "PROMPT_DEPTH_VISION", 3, "PROMPT_DEPTH_TEXT", 3]


def golden_teacher():
    """The teacher's CLIP of the golden file: other sizes, seed 1; heads of 64 channels."""
    m = FILE["teacher_model"]
    sizes = {
        "embed_dim": m["embed_dim"],
        "image_size": m["image_resolution"],
        "patch_size": m["patch"],
        "vision_width": m["vision_width"],
        "vision_layers": m["vision_layers"],
        "vision_heads": m["vision_width"] // 64,
        "text_width": m["text_width"],
        "text_layers": m["text_layers"],
        "text_heads": m["text_width"] // 64,
        "context_length": 77,
        "vocab_size": m["vocab_size"],
    }
    state = {
        name: torch.as_tensor(recipe.clip_value(name, tuple(value.shape), FILE["teacher_SEED"]))
        for name, value in empty_clip(sizes).state_dict().items()
    }
    return _build(state, sizes, "golden-teacher", "fp32", "cpu")


def golden_promptkd(case, names=tuple(FILE["classnames"])):
    config = CASES[case]["config"]
    student = [word if isinstance(word, int) else f"TRAINER.PROMPTKD.{word}" for word in PROMPTS]
    teacher = [word if isinstance(word, int) else f"TRAINER.PROMPTSRC.{word}" for word in PROMPTS]
    trainer = golden_run(
        PromptKD,
        list(names),
        "OPTIM.LR",
        0.005,
        *student,
        "TRAINER.PROMPTKD.TEACHER_OPTS",
        [*teacher, "TRAINER.PROMPTSRC.CTX_INIT", "a photo of a"],
        "TRAINER.PROMPTKD.KD_WEIGHT",
        config["w"],
        "TRAINER.PROMPTKD.TEMPERATURE",
        config["T"],
        "TRAINER.PROMPTKD.MODAL",
        config["modal"],
        teacher_clip=golden_teacher(),
    )
    for module, tensors, seed in (
        (trainer.teacher, "teacher_prompts", FILE["teacher_SEED"]),
        (trainer.student, "student_trainable", 0),
    ):
        values = {name: recipe.train_value(**t, seed=seed) for name, t in CASES[case][tensors].items()}
        module.load_state_dict(values, strict=False)
    return trainer


@pytest.mark.stored
@pytest.mark.parametrize("case", CASES)
def test_a_step_equals_the_released_code(case):
    golden, images = CASES[case], recipe.images()
    trainer = golden_promptkd(case)
    for row, ids in zip(trainer.teacher.template.tokens.tolist(), golden["teacher_token_ids"], strict=True):
        assert row[: len(ids)] == ids
    classes = trainer.class_features()
    assert_logits(classes, golden["teacher_text_features_norm"])
    assert_logits(trainer.teacher_logits(images, classes), golden["teacher_logits"])
    trainer.set_model_mode("eval")
    with torch.no_grad():
        assert_logits(trainer.predict(images), golden["student_logits_eval_init"])
    trainer.set_model_mode("train")
    with torch.no_grad():
        statistics = {name: value.clone() for name, value in trainer.student.VPT_image_trans.state_dict().items()}
        logits = trainer.clip.logit_scale * trainer.image_features(images) @ classes.T
        assert_logits(logits, golden["student_logits_train_mode_bn_batch_stats"])
        trainer.student.VPT_image_trans.load_state_dict(statistics)
    parts = trainer.loss({"img": images})
    kl = golden["kl_sum_before_T2_over_numel"] * golden["config"]["T"] ** 2 / logits.numel()
    assert parts["loss"].item() == pytest.approx(golden["config"]["w"] * kl, rel=5e-5)
    assert parts["loss"].item() == pytest.approx(golden["loss_summary"]["loss"], rel=5e-5)
    parts["loss"].backward()
    student = dict(trainer.student.named_parameters())
    assert_gradients(student, {k: v for k, v in golden["grad"].items() if k != "VPT_image_trans.conv1.0.bias"})
    assert {name for name, p in student.items() if p.grad is not None} == set(golden["student_trainable"])
    trainer._optims["VLPromptLearner"].step()
    assert_parameters(student, golden["param_after_step"])
    for name, check in golden["bn_running"].items():
        assert float(trainer.student.state_dict()[name].norm()) == pytest.approx(check["l2"], rel=5e-4)
    trainer.set_model_mode("eval")
    with torch.no_grad():
        assert_logits(trainer.predict(images), golden["student_logits_eval_after"], atol=3e-4)


def test_images_stand_alone_whatever_the_batch_norm(assert_images_stand_alone):
    trainer = golden_promptkd("cross_T1_w1000")
    trainer.set_model_mode("train")
    trainer.loss({"img": recipe.images(batch=8)})  # moves the running statistics
    trainer.set_model_mode("eval")
    assert_images_stand_alone(trainer)


def test_a_teacher_of_another_width_is_refused(tmp_path):
    trainer = golden_promptkd("cross_T1_w1000")
    depth = ["TRAINER.IVLP.PROMPT_DEPTH_VISION", 3, "TRAINER.IVLP.PROMPT_DEPTH_TEXT", 3]
    other = golden_run(IVLP, FILE["classnames"], *depth)
    save_checkpoint({"state_dict": other.prompt_learner.state_dict(), "epoch": 1}, str(tmp_path / "VLPromptLearner"))
    book = TrainerBase()
    book.register_model("VLPromptLearner", trainer.teacher)
    for place in (tmp_path, tmp_path / "VLPromptLearner" / "model.pth.tar-1"):
        with pytest.raises(UserError, match="does not fit.*VLPromptLearner.*128.*192"):
            load_weights(book, place, "TRAINER.PROMPTKD.TEACHER_RUN")


def test_released_checkpoints_load():
    """They hold all of CLIP beside the student's tensors, and no teacher."""
    trainer = golden_promptkd("cross_T1_w1000")
    before = trainer.teacher.state_dict()["prompt_learner.ctx"].clone()
    released = {name: 2 * value for name, value in trainer.student.state_dict().items() if "teacher" not in name}
    released |= {f"image_encoder.{k.removeprefix('visual.')}": v for k, v in recipe.state_dict().items()}
    trainer.student.load_state_dict(dict(released))
    assert torch.equal(trainer.student.image_encoder.VPT, released["image_encoder.VPT"])
    assert torch.equal(trainer.teacher.prompt_learner.ctx, before)


SMALL = [
    "TRAINER.PROMPTKD.TEACHER_NAME",
    "mini",
    "DATASET.SOURCE_DOMAINS",
    "['photo']",
    "DATASET.NUM_SHOTS",
    2,
    "TRAINER.PROMPTKD.TEACHER_SHOTS",
    2,
    "DATALOADER.TRAIN_X.BATCH_SIZE",
    40,
    "OPTIM.LR",
    0.001,
]
BASE, NEW = [*SMALL, "DATASET.SUBSAMPLE_CLASSES", "base"], [*SMALL, "DATASET.SUBSAMPLE_CLASSES", "new"]


def test_the_teacher_is_made_once_and_the_student_sees_all_classes(run, tmp_path):
    record = run("PromptKD", *BASE, "OPTIM.MAX_EPOCH", 4, folder="kd")
    log = (tmp_path / "kd" / "log.txt").read_text()
    assert "unlabelled images: 160 of all 20 classes" in log and "PromptKD's teacher: training" in log
    losses = [epoch["loss"] for epoch in record["history"]]
    assert losses[-1] < losses[0] and record["metrics"]["total"] == 120
    teacher = json.loads(next((tmp_path / "output" / "stages").rglob("result.json")).read_text())
    assert (teacher["trainer"], teacher["classes"], teacher["shots"]) == ("PromptSRC", "base", 2)
    (tmp_path / "output").rename(tmp_path / "gone")  # a test needs the student's checkpoint alone
    assert run("PromptKD", *BASE, folder="again", model_dir="kd")["metrics"] == record["metrics"]
    assert run("PromptKD", *NEW, folder="new", model_dir="kd")["metrics"]["total"] == 120
    assert not (tmp_path / "output" / "stages").exists()


def test_labels_play_no_part(run, tmp_path, monkeypatch):
    first = run("PromptKD", *BASE, folder="first")
    loss = PromptKD.loss
    monkeypatch.setattr(PromptKD, "loss", lambda trainer, batch: loss(trainer, {"img": batch["img"]}))
    assert run("PromptKD", *BASE, folder="second")["history"] == first["history"]


def test_dpc_on_promptkd_keeps_new_classes_and_leaves_the_teacher(run, tmp_path):
    few = [
        "TRAINER.DPC.BACKBONE",
        "PromptKD",
        "DATALOADER.TRAIN_X.BATCH_SIZE",
        8,
        "OPTIM.MAX_EPOCH",
        1,
        "TRAINER.DPC.BACKBONE_OPTS",
        ["OPTIM.MAX_EPOCH", 1, "DATALOADER.TRAIN_X.BATCH_SIZE", 40],
    ]
    run("DPC", *BASE, *few, folder="dpc", config="DPC")
    stages = (tmp_path / "output" / "stages").rglob("result.json")
    stage = next(path.parent for path in stages if "PromptKD" in str(path))
    alone = run("PromptKD", *NEW, folder="alone", model_dir=str(stage))
    assert run("DPC", *NEW, *few, folder="new", model_dir="dpc")["metrics"] == alone["metrics"]
    state = torch.load(tmp_path / "dpc" / "VLPromptLearner" / "model.pth.tar-1", weights_only=True)["state_dict"]
    assert "tuned.VPT_image_trans.conv1.0.weight" in state and not any(k.startswith("tuned.teacher") for k in state)


@pytest.mark.parametrize(
    "opts, words",
    [
        (["TRAINER.PROMPTKD.MODAL", "base2new"], ["MODAL", "base2new", "did you mean 'base2novel'"]),
        (["TRAINER.MODAL", "xd"], ["TRAINER.PROMPTKD.MODAL", "xd", "cross"]),
        (["TRAINER.PROMPTKD.TEACHER_RUN", "/nowhere"], ["TEACHER_RUN", "/nowhere"]),
        (["TRAINER.PROMPTKD.TEACHER_NAME", "mini_lagre"], ["mini_lagre", "did you mean 'mini_large'"]),
        (["TRAINER.PROMPTKD.PROJECT_LAYER", 3], ["PROJECT_LAYER", "3", "1, 2"]),
        (["TRAINER.PROMPTKD.TEMPERATURE", 0.0], ["TEMPERATURE", "above 0"]),
        (["DATALOADER.TRAIN_X.FEATURE_VIEWS", 2], ["FEATURE_VIEWS", "PromptKD"]),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(opts, words, refused):
    line = refused("PromptKD", *BASE, *opts)
    assert all(word in line for word in words), line


def test_a_teacher_of_other_data_is_refused_by_what_differs(run, refused, tmp_path):
    run(
        "PromptSRC",
        "DATASET.SOURCE_DOMAINS",
        "['photo']",
        "DATASET.NUM_SHOTS",
        2,
        "DATASET.SUBSAMPLE_CLASSES",
        "base",
        "OPTIM.MAX_EPOCH",
        1,
        folder="teacher",
    )
    for i, (change, words) in enumerate(
        [
            (["SEED", 2], ["SEED 1", "expected 2"]),
            (["TRAINER.PROMPTKD.MODAL", "cross", "SEED", 2], ["SEED 1", "expected 2"]),
            (["TRAINER.PROMPTKD.TEACHER_SHOTS", 4], ["DATASET.NUM_SHOTS 2", "expected 4"]),
            (["DATASET.SOURCE_DOMAINS", "['cartoon']"], ["DATASET.SOURCE_DOMAINS", "photo", "cartoon"]),
            (["TRAINER.PROMPTKD.TEACHER_NAME", "mini_large"], ["MODEL.BACKBONE.NAME mini", "expected mini_large"]),
        ]
    ):
        own = ["OUTPUT_DIR", tmp_path / f"refused{i}"]
        line = refused("PromptKD", *BASE, "TRAINER.PROMPTKD.TEACHER_RUN", tmp_path / "teacher", *own, *change)
        assert "TEACHER_RUN" in line and all(word in line for word in words), line
