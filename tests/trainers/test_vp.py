"""VP: what each prompter adds to which pixels, and that evaluation is a function of the image."""

import pytest
import torch

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from helpers.golden_trainers import batch, trainer_on_golden_clip
from trainers.vp import METHODS, VP, build_prompter
from trainers.zsclip import ZeroshotCLIP


def added(prompter, size=10):
    """What the prompter adds to an image (3, S, S), the same for all images."""
    images = torch.zeros(2, 3, size, size)
    out = prompter(images)
    assert torch.equal(out[0], out[1])
    return out[0].detach()


def test_padding_is_a_frame():
    prompter = build_prompter("padding", 10, 2, seed=1)
    assert set(prompter.state_dict()) == {"pad_up", "pad_down", "pad_left", "pad_right"}
    assert sum(p.numel() for p in prompter.parameters()) == 3 * (10 * 10 - 6 * 6)
    frame = added(prompter)
    assert (frame[:, 2:8, 2:8] == 0).all() and torch.equal(frame[:, :2], prompter.pad_up[0])
    assert torch.equal(frame[:, 8:], prompter.pad_down[0]) and torch.equal(frame[:, 2:8, 8:], prompter.pad_right[0])


def test_a_fixed_patch_stays_top_left():
    prompter = build_prompter("fixed_patch", 10, 3, seed=1)
    patch = added(prompter)
    assert torch.equal(patch[:, :3, :3], prompter.patch[0]) and patch.count_nonzero() == 27


def test_a_random_patch_moves_in_training_and_stands_still_in_evaluation():
    torch.manual_seed(0)
    prompter = build_prompter("random_patch", 10, 3, seed=1)

    def corners(n):
        return {tuple(added(prompter)[0].nonzero()[0].tolist()) for _ in range(n)}

    assert len(corners(200)) > 40  # of 64 places
    assert len(corners(5)) > 1
    prompter.eval()
    assert corners(5) == {prompter.corner}
    assert build_prompter("random_patch", 10, 3, seed=1).corner == prompter.corner
    assert len({build_prompter("random_patch", 10, 3, seed=s).corner for s in range(8)}) > 1


@pytest.mark.parametrize("method", METHODS)
def test_a_prompt_of_zeros_is_zero_shot_clip_and_gradients_reach_every_pixel(method):
    trainer = trainer_on_golden_clip(VP, METHOD=method, PROMPT_SIZE=8)
    trainer.loss(batch())["loss"].backward()
    assert all((p.grad != 0).all() for p in trainer.prompter.parameters())
    for p in trainer.prompter.parameters():
        p.data.zero_()
    with torch.no_grad():
        expected = trainer_on_golden_clip(ZeroshotCLIP).predict(recipe.images())
        torch.testing.assert_close(trainer.predict(recipe.images()), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind, res", [("vit", 32), ("rn", 64)])
def test_images_stand_alone(assert_images_stand_alone, method, kind, res):
    assert_images_stand_alone(trainer_on_golden_clip(VP, kind, METHOD=method, PROMPT_SIZE=4), res)


@pytest.mark.parametrize(
    "method, p, words",
    [("patch", 3, "fixed_patch"), ("padding", 5, "1 to 4"), ("fixed_patch", 11, "1 to 10"), ("padding", 0, "1 to")],
)
def test_prompts_that_do_not_fit_are_named(method, p, words):
    with pytest.raises(UserError, match=words):
        build_prompter(method, 10, p, seed=1)


@pytest.mark.parametrize("method", METHODS[:2])
def test_steps_on_one_batch_lower_its_loss(method):
    torch.manual_seed(0)
    trainer, data = trainer_on_golden_clip(VP, METHOD=method, PROMPT_SIZE=8), batch()
    optimizer, losses = torch.optim.SGD(trainer.prompter.parameters(), lr=3), []
    for _ in range(5):
        losses.append(trainer.loss(data)["loss"])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0] - 0.01


def test_a_run_evaluates_alone(run, tmp_path):
    record = run("VP")
    saved = torch.load(tmp_path / "run" / "prompter" / "model-best.pth.tar", weights_only=True)["state_dict"]
    assert {name: tuple(value.shape) for name, value in saved.items()} == {"patch": (1, 3, 4, 4)}
    assert run("VP", folder="eval", model_dir="run")["metrics"] == record["metrics"]
