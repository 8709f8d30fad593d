"""PromptSync: its losses against plain loops, what each ablation leaves out, and the source classes it weighs by."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from helpers.golden_run import golden_cfg
from helpers.golden_trainers import trainer_on_golden_clip
from promptshift.adapting.stream import tensors_fingerprint
from promptshift.losses import prototype_discrimination, weighted_distance
from promptshift.modeling.prototypes import SourcePrototypes
from promptshift.modeling.views import take_views
from trainers.promptsync import PromptSync

OTHER = ["zebra", "dog", "piano", "electric_guitar"]


def unit(*size, seed=0):
    return F.normalize(torch.randn(*size, generator=torch.Generator().manual_seed(seed)), dim=-1)


def promptsync(classes=tuple(recipe.CLASSNAMES), **options):
    """A PromptSync on the golden CLIP with prototypes of the given classes, prepared for a stream."""
    torch.manual_seed(1)
    trainer = trainer_on_golden_clip(PromptSync, **({"PREC": "fp32", "VIEWS": 8, "TPT_THRESHOLD": 0.25} | options))
    source = SourcePrototypes(
        torch.zeros(4, 19, 192),
        torch.ones(4, 19, 192),
        unit(len(classes), 64),
        unit(3, len(classes), 64, seed=2),
        unit(len(classes), 64, seed=3),
        {"classes": list(classes)},
    )
    trainer.find_source = lambda: source
    trainer.dm = SimpleNamespace(dataset=SimpleNamespace(classnames=list(recipe.CLASSNAMES)))
    trainer.diagnostics = {}
    return trainer


def seen_of(trainer, batch=2):
    with torch.no_grad():
        return trainer.see(recipe.images(tag=11, batch=batch * 8).unflatten(0, (batch, 8)))


def gradients(trainer, seen):
    values = {name: value.clone().requires_grad_() for name, value in seen.start.items()}
    loss = trainer.adaptation_loss(values, seen)
    loss.sum().backward()
    return loss.detach(), {name.removeprefix("prompt_learner."): value.grad for name, value in values.items()}


def test_discrimination_is_the_formula_of_the_docstring():
    text, prototypes, scale = unit(5, 16, seed=1), unit(3, 5, 16, seed=2), torch.tensor(20.0)
    terms = []
    for k in range(5):
        own = sum(torch.exp(scale * text[k] @ prototypes[a, k]) for a in range(3))
        every = sum(torch.exp(scale * text[k] @ prototypes[a, j]) for a in range(3) for j in range(5))
        terms.append(-torch.log(own / every))
    expected = torch.stack(terms).mean()
    torch.testing.assert_close(prototype_discrimination(text, prototypes, scale), expected)
    batch = torch.stack([text, unit(5, 16, seed=4)])
    torch.testing.assert_close(prototype_discrimination(batch, prototypes, scale)[0], expected)
    assert prototype_discrimination(prototypes[0], prototypes[:1], scale) < expected


def test_a_distance_is_weighted_by_class():
    weights, features, prototypes = torch.tensor([[0.7, 0.3]]), unit(1, 1, 8), unit(2, 8, seed=5)
    expected = sum(weights[0, k] * (features[0, 0] - prototypes[k]).abs().mean() for k in range(2))
    torch.testing.assert_close(weighted_distance(weights, features, prototypes), expected.reshape(1))


@pytest.mark.parametrize("threshold, allowed", [(0.125, True), (0.875, True), (1.0, False)])
def test_all_random_views_may_be_confident_but_not_the_clean_one(threshold, allowed):
    words = [
        "TRAINER.PROMPTSYNC.VIEWS",
        8,
        "TRAINER.PROMPTSYNC.TPT_THRESHOLD",
        threshold,
        "MODEL.BACKBONE.NAME",
        "mini",
    ]
    cfg = golden_cfg(PromptSync, *words)
    if allowed:
        PromptSync.check_options(cfg)
        return
    with pytest.raises(UserError, match="PROMPTSYNC.TPT_THRESHOLD: 1.0.*there are 7"):
        PromptSync.check_options(cfg)


def test_confident_views_are_random_ones():
    trainer = promptsync()
    seen = seen_of(trainer)
    seen.logits[:, 0] *= 100  # the clean view is surest of all
    kept = trainer.confident(seen)
    assert kept.min() >= 1
    assert kept.tolist() == [(1 + entropies[1:].argsort()[:2]).tolist() for entropies in seen.entropies]


@pytest.mark.parametrize("kinds", [["text", "cls"], ["cls"], ["vision"]])
def test_alignment_is_that_of_each_image_and_its_confident_views(kinds):
    trainer = promptsync(DISCRIMINATE="off", ALIGN_WITH=kinds)
    trainer.prepare()
    seen = seen_of(trainer)
    loss, _ = gradients(trainer, seen)
    with torch.no_grad():
        classes, source = trainer.class_features(), trainer.source
        for i in range(2):
            rows = [0, *trainer.confident(seen)[i].tolist()]
            features = seen.features[i, rows]
            weights = (20.0 * features @ classes.T).softmax(dim=-1).mean(dim=0)
            expected = torch.zeros(())
            _, tokens = trainer.view_features(
                trainer.prompt_learner.prompts(seen.start), take_views(seen.views, torch.tensor([rows, rows]))
            )
            hidden = trainer.tower.blocks[-1](tokens[-1][i])[:, 1:17]
            patches = F.normalize(trainer.tower.visual.ln_post(hidden).mean(dim=1) @ trainer.tower.visual.proj, dim=-1)
            ours = {
                kind: F.normalize(values.mean(dim=0), dim=-1)
                for kind, values in (("cls", features), ("vision", patches))
            }
            for k in range(6):
                for kind, prototypes in (("cls", source.cls[0]), ("vision", source.vision), ("text", source.text)):
                    if kind in kinds:
                        mine = classes[k] if kind == "text" else ours[kind]
                        expected += weights[k] * (mine - prototypes[k]).abs().mean()
            assert loss[i].item() == pytest.approx(100 * expected.item(), rel=1e-4)


def at_its_prototypes(kinds, rounding, **options):
    """A PromptSync at the prompts that its text prototypes were made under, up to rounding of their numbers."""
    trainer = promptsync(DISCRIMINATE=options.pop("DISCRIMINATE", "off"), ALIGN_WITH=kinds, **options)
    source = trainer.find_source()
    source.about["start"] = tensors_fingerprint(trainer.prompt_learner.state_dict())
    noise = torch.randn(6, 64, generator=torch.Generator().manual_seed(9))
    source.text = trainer.class_features().detach() + rounding * noise
    trainer.prepare()
    return trainer


@pytest.mark.parametrize("rounding", [1e-8, 1e-4])  # another size of batch, another precision
@pytest.mark.parametrize("detached", [False, True])
def test_rounding_gives_the_text_term_no_gradient_where_prompts_have_not_moved(rounding, detached):
    found = {}
    for kinds in (["text", "cls"], ["cls"], ["text"]):
        trainer = at_its_prototypes(kinds, rounding, DETACH_WEIGHTS=detached)
        found[len(kinds), kinds[-1]] = gradients(trainer, seen_of(trainer))[1]
    for name, gradient in found[1, "cls"].items():
        torch.testing.assert_close(found[2, "cls"][name], gradient)
    assert all(gradient.abs().max() < 1e-9 for gradient in found[1, "text"].values() if gradient is not None)


@pytest.mark.parametrize("moved", ["by a step", "by discrimination"])
def test_prompts_that_have_moved_are_drawn_back_to_the_text_prototypes_image_by_image(moved):
    trainer = at_its_prototypes(["text"], 1e-8, DISCRIMINATE="once" if moved == "by discrimination" else "off")
    seen = seen_of(trainer)
    values = {name: value.clone().requires_grad_() for name, value in seen.start.items()}
    if moved == "by a step":
        with torch.no_grad():
            values["prompt_learner.ctx"][1] += 0.01  # the second image alone
    trainer.adaptation_loss(values, seen).sum().backward()
    norms = values["prompt_learner.ctx"].grad.flatten(1).norm(dim=1)
    assert norms[1] > 1 and (norms[0] > 1) == (moved == "by discrimination") and (norms[0] > 1 or norms[0] < 1e-9)


def test_each_setting_leaves_out_what_it_says():
    vision, text = "proj.weight", "compound_prompts_text.1"
    seen, found = None, {}
    for name, options in {
        "align": dict(DISCRIMINATE="off"),
        "image": dict(ALIGN=False, DISCRIMINATE="image"),
        "detached": dict(DISCRIMINATE="off", DETACH_WEIGHTS=True),
        "entropy": dict(ALIGN=False, DISCRIMINATE="off", ENTROPY_W=1.0),
    }.items():
        trainer = promptsync(**options)
        trainer.prepare()
        assert trainer.adapts()
        seen = seen_of(trainer)
        found[name] = gradients(trainer, seen)[1]
    assert found["image"][vision] is None  # source prototypes do not move with the prompts
    assert found["image"][text].abs().max() > 0
    assert not torch.allclose(found["align"][text], found["detached"][text], rtol=0.1)
    for name in ("align", "detached", "entropy"):
        assert found[name][text].abs().max() > 0 and found[name][vision].abs().max() > 0
    alone = promptsync(ALIGN=False)
    alone.prepare()
    assert not alone.adapts()  # discrimination before the stream, nothing an image


@pytest.mark.parametrize(
    "cadence, first, steps", [("once", 0, 1), ("off", 0, 0), ("image", 0, 0), ("3", 0, 1), ("3", 6, 3)]
)
def test_discrimination_before_the_stream_and_every_n_images(cadence, first, steps):
    trainer = promptsync()
    trainer.options.DISCRIMINATE = cadence
    before = {name: value.clone() for name, value in trainer.prompt_learner.state_dict().items()}
    trainer.prepare()
    trainer.before_batch(first)
    trainer.before_batch(first)  # the same batch needs no more of them
    assert trainer.discriminated == steps
    moved = max((value - before[name]).abs().max() for name, value in trainer.prompt_learner.state_dict().items())
    assert (moved > 1e-4) == (steps > 0)
    if steps:
        assert trainer.diagnostics["discrimination_after"] < trainer.diagnostics["discrimination_before"]


def test_weights_go_over_the_source_classes_and_predictions_over_the_test_set_s():
    trainer = promptsync(OTHER, DISCRIMINATE="off", ALIGN_WITH=["cls"])
    trainer.prepare()
    seen = seen_of(trainer)
    loss, _ = gradients(trainer, seen)
    with torch.no_grad():
        classes = trainer.class_features_of_source()
        assert classes.shape == (4, 64) and trainer.adapt(seen.views)[0].shape == (2, 6)
        torch.testing.assert_close(classes[1], trainer.class_features()[0], atol=1e-5, rtol=1e-4)  # dog in both
        features = seen.features[0, [0, *trainer.confident(seen)[0].tolist()]]
        weights = (20.0 * features @ classes.T).softmax(dim=-1).mean(dim=0)
        distances = (F.normalize(features.mean(dim=0), dim=-1) - trainer.source.cls[0]).abs().mean(dim=-1)
    assert loss[0].item() == pytest.approx(100 * (weights * distances).sum().item(), rel=1e-4)


def test_target_classes_take_their_rows_or_are_refused():
    shuffled = [*recipe.CLASSNAMES[::-1], "zebra"]
    trainer = promptsync(shuffled, PROTOTYPE_CLASSES="target", DISCRIMINATE="off")
    expected = trainer.find_source().text.flip(0)[1:]
    trainer.prepare()
    torch.testing.assert_close(trainer.source.text, expected)
    with pytest.raises(UserError, match="4 of 6 classes of PACS have no prototype, e.g. 'elephant'"):
        promptsync(OTHER, PROTOTYPE_CLASSES="target").prepare()


def test_statistics_without_class_prototypes_are_refused():
    trainer = promptsync()
    trainer.find_source().about.clear()
    with pytest.raises(UserError, match="without class prototypes"):
        trainer.prepare()
