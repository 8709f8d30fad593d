"""PromptSync's prototypes (arXiv 2404.07520): do text and vision prototypes of a class agree, and does discrimination
bring them closer."""

from __future__ import annotations

import torch
from torch import Tensor

from promptshift.adapting.trainer import AdaptingTrainer
from promptshift.results.diagnostics import class_agreement
from promptshift.results.tables import Table
from promptshift.studies.bench import Bench
from promptshift.studies.outcome import Outcome
from promptshift.studies.registry import study
from promptshift.studies.target import ALIGNMENT, Target, over_images

KINDS = {"cls": "class token", "vision": "patch tokens"}  # attributes of the prototypes
Agreement = dict[str, Tensor]  # of `class_agreement`


@study("prototype_agreement", "do PromptSync's text and vision prototypes of a class agree, before and after its step")
def prototype_agreement(bench: Bench) -> list[Outcome]:
    """Compare the source classes' prototypes under the prompts to start from and after the discrimination step."""
    target = Target(bench)
    trainer = target.prepared(ALIGNMENT)
    vision = {"cls": trainer.source.cls[0].cpu(), "vision": trainer.source.vision.cpu()}
    text = {"before": _text_prototypes(trainer)}
    trainer.discriminate()
    text["after"] = _text_prototypes(trainer)
    losses = tuple(trainer.diagnostics[f"discrimination_{when}"] for when in text)
    images, steps = trainer.source.about["images"], trainer.options.PD_STEPS
    found = {kind: {when: class_agreement(own, vision[kind]) for when, own in text.items()} for kind in KINDS}
    return [agreement_outcome(target.place, target.about, found, losses, images, steps)]


@torch.no_grad()
def _text_prototypes(trainer: AdaptingTrainer) -> Tensor:
    with trainer.autocast():
        return trainer.class_features_of_source().cpu()


def agreement_outcome(
    place: str, about: str, found: dict[str, dict[str, Agreement]], losses: tuple[float, float], images: int, steps: int
) -> Outcome:
    """Return the comparison from `class_agreement` by kind of vision prototype and "before" or "after".

    Args:
        losses: the discrimination loss before and after.
        images: source images that the prototypes are means of.
        steps: of discrimination.
    """
    rows = tuple(
        (f"{KINDS[kind]}, {when}", *_numbers(own)) for kind, both in found.items() for when, own in both.items()
    )
    count = len(found["cls"]["before"]["own"])
    return Outcome(
        f"prototype_agreement-{place}",
        f"PromptSync: text and vision prototypes of a class ({about})",
        "Every point is a source class: cosine of its vision prototype with its own text prototype, and with the "
        "nearest one of another class. Below the line its own is the nearest.",
        _verdict(found, losses, count, steps),
        "Cosine with the own text prototype against that with the nearest other one, before and after the "
        "discrimination step, for class-token and for patch-token prototypes.",
        "scatter",
        tuple(_panel(KINDS[kind], both) for kind, both in found.items()),
        Table(
            (
                "vision prototype of",
                "cosine, own",
                "cosine, nearest other",
                "own text nearest (%)",
                "own vision nearest to the text (%)",
            ),
            rows,
            f"Prototypes of {count} source classes ({about})",
        ),
        (
            f"Vision prototypes are means over {images} source images under the prompts that adaptation starts from, and "
            "stay as they are. No image of the target is used. Intervals are over classes of one run.",
        ),
    )


def _numbers(own: Agreement) -> tuple[str, ...]:
    means = [float(own[key].double().mean()) for key in ("own", "other", "vision_right", "text_right")]
    return (f"{means[0]:.3f}", f"{means[1]:.3f}", f"{100 * means[2]:.1f}", f"{100 * means[3]:.1f}")


def _verdict(found: dict[str, dict[str, Agreement]], losses: tuple[float, float], count: int, steps: int) -> str:
    texts = [
        f"{count} classes, {steps} step{'s' if steps > 1 else ''} of discrimination: its loss goes from "
        f"{losses[0]:.4f} to {losses[1]:.4f}."
    ]
    for kind, both in found.items():
        before, after = both["before"], both["after"]
        shares = " and ".join(
            f"{100 * float(own['vision_right'].double().mean()):.1f} % {when}" for when, own in both.items()
        )
        margins = [100 * (own["own"] - own["other"]) for own in (after, before)]
        texts.append(
            f"{KINDS[kind].capitalize()}: the nearest text prototype is the own one for {shares}. Cosine of a "
            "matching pair, times 100: "
            + over_images("after", 100 * after["own"], "before", 100 * before["own"], "classes")
            + " Its lead over the nearest other class: "
            + over_images("after", margins[0], "before", margins[1], "classes")
        )
    return " ".join(texts)


def _panel(title: str, both: dict[str, Agreement]) -> dict:
    groups = [
        {
            "label": when,
            "x": [round(value, 4) for value in own["own"].tolist()],
            "y": [round(value, 4) for value in own["other"].tolist()],
        }
        for when, own in both.items()
    ]
    return {
        "title": f"vision prototype: {title}",
        "xlabel": "cosine with the own text prototype",
        "ylabel": "cosine with the nearest other",
        "groups": groups,
        "line": {"slope": 1.0, "intercept": 0.0},
    }
