"""Adapting at test time on the golden CLIP: images together as each by itself; bad input."""

import pytest
import torch
from yacs.config import CfgNode as CN

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from helpers.golden_trainers import trainer_on_golden_clip
from promptshift.modeling.prototypes import SourcePrototypes
from trainers.promptalign import PromptAlign
from trainers.promptsync import PromptSync
from trainers.tpt import TPT

FEW = {"VIEWS": 8, "TPT_THRESHOLD": 0.25}


def source(classes=6):
    shape, generator = (4, 19, 192), torch.Generator().manual_seed(0)

    def unit(*size):
        return torch.nn.functional.normalize(torch.randn(*size, generator=generator), dim=-1)

    return SourcePrototypes(
        torch.randn(shape, generator=generator),
        torch.rand(shape, generator=generator),
        unit(classes, 64),
        unit(2, classes, 64),
        unit(classes, 64),
        {},
    )


CASES = {
    "TPT hand": (TPT, {}),
    "TPT CoCoOp": (TPT, dict(PROMPT="CoCoOp")),
    "TPT three steps": (TPT, dict(TTA_STEPS=3)),
    "PromptAlign": (PromptAlign, dict(ALIGN_THRESHOLD=0.5)),
    "PromptSync": (PromptSync, dict(LR=5e-3)),
    "PromptSync, all losses": (
        PromptSync,
        dict(DISCRIMINATE="image", ENTROPY_W=1.0, LR=5e-3, ALIGN_WITH=["text", "cls", "vision"]),
    ),
}


def golden_trainer(cls, options, precision="fp32"):
    torch.manual_seed(0)
    trainer = trainer_on_golden_clip(cls, PREC=precision, **FEW, **options)
    if cls is not TPT:
        trainer.source, trainer.source_template = source(), trainer.template
    return trainer


@pytest.mark.parametrize("case", CASES)
def test_images_together_are_adapted_as_each_by_itself(case):
    trainer = golden_trainer(*CASES[case])
    views = recipe.images(tag=5, batch=6 * 8).unflatten(0, (6, 8))
    together, _, whole = trainer.adapt(views)
    assert whole.all()
    assert (together - trainer.predict(views[:, 0])).abs().max() > 0.05  # there is something to compare
    for i in range(6):
        alone = trainer.adapt(views[i : i + 1])[0][0]
        torch.testing.assert_close(together[i], alone, atol=1e-4, rtol=0)
        assert together[i].argmax() == alone.argmax()


@pytest.mark.parametrize("cls", [TPT, PromptAlign, PromptSync])
def test_images_start_from_the_same_prompts_whatever_came_before(cls):
    trainer = golden_trainer(cls, {})
    first, second = recipe.images(tag=6, batch=2 * 8).unflatten(0, (2, 1, 8))
    expected = trainer.adapt(second)[0]
    trainer.adapt(first)
    torch.testing.assert_close(trainer.adapt(second)[0], expected, atol=0, rtol=0)


def test_two_classes_are_enough_and_one_is_not():
    trainer = trainer_on_golden_clip(TPT, classnames=["dog", "horse"], **FEW)
    logits, _, _ = trainer.adapt(recipe.images(tag=5, batch=8).unsqueeze(0))
    assert logits.shape == (1, 2)
    with pytest.raises(UserError, match="DATASET.NAME: .*one class .dog."):
        trainer_on_golden_clip(TPT, classnames=["dog"], **FEW)


def test_as_many_images_at_once_as_the_bounds_allow():
    trainer = golden_trainer(PromptAlign, {})
    trainer.cfg.TEST = CN({"TTA_BATCH": 0})
    tokens = trainer.tokens_of_an_image()
    assert tokens == 6 * 9  # six prompts of nine tokens against two views of 19
    for bound, expected in ((5 * tokens, 5), (1, 1), (10**9, 64)):
        trainer.cfg.MODEL.TEXT_CHUNK = bound
        assert trainer.images_at_once() == expected
    trainer.cfg.TEST.TTA_BATCH = 3
    assert trainer.images_at_once() == 3


@pytest.mark.parametrize(
    "trainer, options, words",
    [
        ("TPT", ("TRAINER.TPT.TPT_THRESHOLD", 0.01), ("TPT_THRESHOLD: 0.01 of 8 views is 0 confident views",)),
        ("TPT", ("TRAINER.TPT.VIEWS", 1), ("TRAINER.TPT.VIEWS: 1",)),
        ("TPT", ("TRAINER.TPT.PROMPT", "MaPLe"), ("TRAINER.TPT.PROMPT: 'MaPLe'", "hand, CoOp, CoCoOp")),
        ("TPT", ("TRAINER.TPT.START.RUN", "x"), ("TRAINER.TPT.START.RUN", "hand")),
        ("TPT", ("TRAINER.TPT.PROMPT", "CoOp", "TRAINER.TPT.START.RUN", "/nowhere"), ("START.RUN", "/nowhere")),
        ("TPT", ("TRAINER.TPT.AUGMIX", "yes"), ("AUGMIX: 'yes'", "on, off, auto")),
        ("TPT", ("TEST.TTA_BATCH", -1), ("TEST.TTA_BATCH: -1",)),
        ("TPT", ("TRAINER.TPT.TTA_STEPS", 0), ("TTA_STEPS: 0",)),
        ("PromptAlign", ("TRAINER.PROMPTALIGN.ALIGN_THRESHOLD", 0.1), ("ALIGN_THRESHOLD: 0.1 of 8 views is 0",)),
        ("PromptAlign", ("TRAINER.PROMPTALIGN.VIS_MEANS", "m.pt"), ("VIS_MEANS, VIS_VARS",)),
        ("PromptAlign", ("TRAINER.PROMPTALIGN.ALIGN_LAYER_FROM", 3), ("ALIGN_LAYER_FROM",)),
        ("PromptAlign", ("TRAINER.PROMPTALIGN.PROTOTYPES", "/no/such.safetensors"), ("no prototypes at /no/such",)),
        (
            "PromptAlign",
            ("TRAINER.PROMPTALIGN.TPT_LOSS", False, "TRAINER.PROMPTALIGN.DISTR_ALIGN", False),
            ("TPT_LOSS",),
        ),
        ("PromptSync", ("TRAINER.PROMPTSYNC.DISCRIMINATE", "never"), ("DISCRIMINATE: 'never'", "once, image, off")),
        ("PromptSync", ("TRAINER.PROMPTSYNC.ALIGN_WITH", "['txt']"), ("ALIGN_WITH", "text, cls, vision")),
        ("PromptSync", ("TRAINER.PROMPTSYNC.PROTOTYPE_CLASSES", "both"), ("PROTOTYPE_CLASSES: 'both'",)),
        (
            "PromptSync",
            ("TRAINER.PROMPTSYNC.ALIGN", False, "TRAINER.PROMPTSYNC.DISCRIMINATE", "off"),
            ("nothing is left",),
        ),
        ("PromptSync", ("TRAINER.PROMPTSYNC.TPT_THRESHOLD", 1.0), ("TPT_THRESHOLD: 1.0", "there are 7")),
    ],
)
def test_bad_input_is_one_line(trainer, options, words, not_adapted):
    line = not_adapted(trainer, *options)
    assert all(word in line for word in words), line
