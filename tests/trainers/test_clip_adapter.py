"""CLIP-Adapter against clip_adapter.json, and what is special about it: an adapter that knows no classes."""

import pytest
import torch

import helpers.goldens_recipe as recipe
from helpers.golden_trainers import assert_gradients, assert_logits, assert_parameters, trainer_on_golden_clip
from trainers.clip_adapter import CLIP_Adapter

GOLDEN = recipe.golden("clip_adapter")
CASES, SEED = GOLDEN["cases"], GOLDEN["seed_offset"]


def golden_adapter(case):
    """-> trainer with the golden weights, batch, parameters by the golden names."""
    golden, config = CASES[case], CASES[case]["config"]
    options = dict(RATIO=config["ratio"], REDUCTION=config["reduction"], TEMPLATE=config["dataset_template"])
    trainer = trainer_on_golden_clip(CLIP_Adapter, config["bb"], GOLDEN["classnames"], SEED, **options)
    parameters = {f"adapter.{name}": value for name, value in trainer.adapter.named_parameters()}
    assert parameters.keys() == golden["trainable"].keys()
    with torch.no_grad():
        for name, tensor in golden["trainable"].items():
            parameters[name].copy_(recipe.train_value(tensor["key"], tensor["shape"], tensor["kind"], SEED))
    about = GOLDEN["batch"]
    images = recipe.images(about["image_tag"] + SEED, about["B"], config["res"])
    return trainer, {"img": images, "label": torch.tensor(about["labels"])}, parameters


@pytest.mark.parametrize("case", CASES)
def test_three_steps_are_those_of_the_released_code(case):
    golden = CASES[case]
    trainer, batch, parameters = golden_adapter(case)
    assert_parameters(parameters, golden["param_init"], rel=1e-6, seed=SEED)
    assert_logits(trainer.predict(batch["img"]), golden["logits_init"])
    optim = golden["optim"]
    sgd = torch.optim.SGD(parameters.values(), optim["lr"], optim["momentum"], weight_decay=optim["weight_decay"])
    losses = []
    for step in range(3):
        sgd.zero_grad()
        parts = trainer.loss(batch)
        parts["loss"].backward()
        losses.append(parts["loss"].item())
        if step == 0:
            assert parts["acc"].item() == pytest.approx(golden["loss_summary"]["acc"])
            assert_gradients(parameters, golden["grad"], SEED)
        sgd.step()
        if step == 0:
            assert_parameters(parameters, golden["param_after_step"], seed=SEED)
            assert_logits(trainer.predict(batch["img"]), golden["logits_after_step"], atol=3e-4)
    assert losses == pytest.approx([golden["loss_summary"]["loss"], *golden["loss_steps_2_3"]], rel=5e-5)
    assert_parameters(parameters, golden["param_after_3_steps"], seed=SEED)


def test_checkpoints_have_the_released_names():
    for case in CASES.values():
        trainer = trainer_on_golden_clip(CLIP_Adapter)
        assert trainer.get_model_names() == [case["checkpoint_keys"]["directory"]]
        assert sorted(trainer.adapter.state_dict()) == case["checkpoint_keys"]["state_dict"]


def test_images_stand_alone(assert_images_stand_alone):
    assert_images_stand_alone(golden_adapter("vit_lr0.002")[0])


def test_without_a_share_it_is_zero_shot_clip():
    trainer, batch, _ = golden_adapter("vit_lr0.002")
    trainer.options.RATIO = 0.0
    features = torch.nn.functional.normalize(trainer.encode_images(batch["img"]), dim=-1)
    expected = trainer.clip.logit_scale * features @ trainer.text_features.T
    assert_logits(trainer.predict(batch["img"]), expected)


@pytest.mark.parametrize("views", [0, 1])
def test_a_run_learns_and_is_used_for_other_classes(run, views, tmp_path):
    options = ("DATALOADER.TRAIN_X.FEATURE_VIEWS", views, "OPTIM.MAX_EPOCH", 1)
    record = run("CLIP_Adapter", *options, "DATASET.SUBSAMPLE_CLASSES", "base")
    assert record["metrics"]["accuracy"] > 30 and record["selection"] == "best_val"
    new = run("CLIPAdapter", *options, "DATASET.SUBSAMPLE_CLASSES", "new", folder="new", model_dir="run",
              config="CLIP_Adapter")  # fmt: skip
    assert new["metrics"]["accuracy"] > 30 and new["classes"] == "new"


def test_a_bottleneck_of_no_width_is_refused(refused):
    assert "TRAINER.CLIP_ADAPTER.REDUCTION" in refused("CLIP_Adapter", "TRAINER.CLIP_ADAPTER.REDUCTION", 1000)
