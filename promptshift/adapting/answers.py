"""What a stream says of each image, as plain values, and the numbers made of all of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from promptshift.losses import entropy

TOP = 5  # classes kept for each image


def answers_of(names: Sequence[str], problems: Sequence[str], readable: Sequence[dict], seconds: float) -> list[dict]:
    """One answer an image, in order.

    Args:
        names: of the images.
        problems: why an image could not be read, "" where it could.
        readable: `readable_answers` of those without a problem, in order.
        seconds: that adapting took for each of them.
    """
    rest = iter(readable)
    return [
        {"image": name, "problem": problem} if problem else {"image": name, **next(rest), "seconds": round(seconds, 6)}
        for name, problem in zip(names, problems)
    ]


def readable_answers(logits: Tensor, entropies: Tensor, kept: Tensor, whole: Tensor) -> list[dict]:
    """Answers of N images that were adapted to.

    Args:
        logits: (N, K) after adapting.
        entropies: (N,) of the clean views before.
        kept: (N, n) indices of the confident views.
        whole: (N,) whether an image's steps were all made.
    """
    top = logits.topk(min(TOP, logits.shape[1])).indices
    columns = (top, entropies.double(), entropy(logits).double(), kept, whole)
    return [
        {
            "top": top,
            "entropy_before": round(before, 6),
            "entropy_after": round(after, 6),
            "kept": views,
            "adapted": adapted,
        }
        for top, before, after, views, adapted in zip(*(c.tolist() for c in columns))
    ]


def metrics_of(evaluator, answers: Sequence[dict], labels: Sequence[int], classes: int) -> dict[str, float]:
    """Metrics of the first class of each answer; an image without one has a wrong class.

    Args:
        evaluator: Dassl's, which prints its block.
        labels: of the images; classes: K.
    """
    evaluator.reset()
    tops = [answer.get("top", [(label + 1) % classes]) for answer, label in zip(answers, labels)]
    scores = torch.zeros(len(tops), classes)
    scores[torch.arange(len(tops)), torch.tensor([top[0] for top in tops])] = 1
    evaluator.process(scores, torch.tensor(labels))
    in_top = sum(label in top for top, label in zip(tops, labels))
    return {**evaluator.evaluate(), "top5_accuracy": 100.0 * in_top / len(labels)}


def diagnostics_of(answers: Sequence[dict]) -> dict:
    """Means over the readable images, None where there is none, and what was not readable or not adapted to."""
    read = [answer for answer in answers if "top" in answer]
    lost = [answer["problem"] for answer in answers if "problem" in answer]

    def mean(values: list[float]) -> float | None:
        return sum(values) / len(values) if values else None

    means = {key: mean([answer[key] for answer in read]) for key in ("entropy_before", "entropy_after")}
    return {
        **means,
        "kept_views": len(read[0]["kept"]) if read else 0,
        "clean_view_kept": mean([float(0 in answer["kept"]) for answer in read]),
        "seconds_per_image": mean([answer["seconds"] for answer in read]),
        "not_adapted": sum(not answer["adapted"] for answer in read),
        "unreadable": len(lost),
        "unreadable_first": lost[:TOP],
    }
