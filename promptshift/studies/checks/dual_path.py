"""DPSPG's two scores (arXiv 2505.18770): the weight of the negative one, and whether its margin argument holds."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from promptshift.results.diagnostics import negative_deltas
from promptshift.results.statistics import mean
from promptshift.results.tables import Measured, Table
from promptshift.runs.reopen import reopen
from promptshift.studies.bench import Bench, Done, place_of
from promptshift.studies.features import in_batches, test_features
from promptshift.studies.outcome import Outcome
from promptshift.studies.registry import study
from promptshift.studies.words import compared, correlated

ALPHAS = (0.0, 0.1, 0.2, 0.5, 1.0)  # the sweep of the paper's summary


@dataclasses.dataclass(frozen=True)
class Scores:
    """Cosines of every test image of a run with every class under either context, and what it is.

    Attributes:
        positive, negative: (N, K).
        labels: (N,).
        alpha: the run's own weight of the negative score.
        classnames: K names.
    """

    positive: Tensor
    negative: Tensor
    labels: Tensor
    alpha: float
    classnames: list[str]

    def accuracy(self, alpha: float) -> float:
        """Return the accuracy in percent when the negative score has weight `alpha`."""
        return 100 * float(self.right(alpha).double().mean())

    def right(self, alpha: float) -> Tensor:
        """Return which images are classified right, (N,) bool."""
        return (self.positive - alpha * self.negative).argmax(dim=1) == self.labels


def scores_of(done: Done) -> Scores:
    """Return the scores of a finished DPSPG run on its test images."""
    trainer = reopen(done.folder, images=True)
    features, labels, _ = test_features(trainer)
    positive, negative = (
        in_batches(trainer, lambda part, path=path: trainer.cosines(path, part), features) for path in ("pos", "neg")
    )
    return Scores(positive, negative, labels, trainer.options.ALPHA, list(trainer.dm.dataset.classnames))


@study("alpha", "accuracy of DPSPG against the weight of the negative score")
def alpha(bench: Bench) -> list[Outcome]:
    """Score the same trained weights with every weight of the negative score."""
    runs = bench.leave_one_out("DPSPG")
    scores = {key: scores_of(done) for key, done in runs.items()}
    return [alpha_outcome(place_of(runs), scores)]


def alpha_outcome(name: str, scores: dict[tuple[str, int], Scores]) -> Outcome:
    """Return the sweep over `ALPHAS` from the scores by (domain, seed)."""
    by_alpha = {a: {key: score.accuracy(a) for key, score in scores.items()} for a in ALPHAS}
    domains, seeds = list(dict.fromkeys(key[0] for key in scores)), sorted({key[1] for key in scores})
    curves = {
        domain: [Measured.of([by_alpha[a][domain, seed] for seed in seeds]) for a in ALPHAS] for domain in domains
    }
    averages = [
        Measured.of([mean([by_alpha[a][domain, seed] for domain in domains]) for seed in seeds]) for a in ALPHAS
    ]
    series = [
        {"label": label, "x": ALPHAS, "y": [cell.mean for cell in cells], "spread": [cell.std or 0 for cell in cells]}
        for label, cells in {**curves, "average": averages}.items()
    ]
    rows = tuple((f"{a:g}", *(curves[domain][i] for domain in domains), averages[i]) for i, a in enumerate(ALPHAS))
    best = max(range(len(ALPHAS)), key=lambda i: averages[i].mean)
    used = next(iter(scores.values())).alpha
    own = {key: score.accuracy(used) for key, score in scores.items()}
    verdict = f"The highest average is at alpha = {ALPHAS[best]:g} ({averages[best].mean:.2f} %). " + compared(
        f"alpha = {used:g}", own, "alpha = 0, the positive path alone", by_alpha[0.0]
    )
    caption = (
        "Accuracy on the held-out domain against the weight alpha of the negative score; bands: standard "
        f"deviation over seeds {' '.join(map(str, seeds))}. Training does not see alpha: all points of a curve "
        f"have the same weights, chosen on validation images with alpha = {used:g}."
    )
    return Outcome(
        f"alpha-{name}",
        f"DPSPG: weight of the negative score ({name})",
        caption,
        verdict,
        f"Accuracy against alpha from 0 to 1 for {', '.join(domains)} and their average; numbers in the table.",
        "lines",
        ({"xlabel": "alpha", "ylabel": "accuracy (%)", "series": series},),
        Table(("alpha", *domains, "average"), rows, f"DPSPG by alpha ({name}), accuracy (%)"),
    )


@study("negative_constraint", "does DPSPG's negative score have the sign its margin argument needs, and does that help")
def negative_constraint(bench: Bench) -> list[Outcome]:
    """Compares, class by class, delta with what the negative score gains."""
    runs = bench.leave_one_out("DPSPG")
    scores = {key: scores_of(done) for key, done in runs.items()}
    return [constraint_outcome(place_of(runs), scores)]


def constraint_outcome(name: str, scores: dict[tuple[str, int], Scores]) -> Outcome:
    """Return delta per class against the gain in accuracy of that class, from the scores by (domain, seed).

    delta of an image is the smallest negative score of a wrong class less that of the true class.
    """
    points = {
        domain: class_points([score for key, score in scores.items() if key[0] == domain])
        for domain in dict.fromkeys(key[0] for key in scores)
    }
    deltas = [delta for values in points.values() for _, delta, _ in values]
    gains = [gain for values in points.values() for _, _, gain in values]
    shares = {
        key: 100 * float((negative_deltas(score.negative, score.labels) >= 0).double().mean())
        for key, score in scores.items()
    }
    share = Measured.of(list(shares.values()))
    text, line = correlated("delta of a class against its gain in accuracy", deltas, gains)
    used = next(iter(scores.values())).alpha
    gain_text = compared(
        f"alpha = {used:g}",
        {key: score.accuracy(used) for key, score in scores.items()},
        "alpha = 0",
        {key: score.accuracy(0.0) for key, score in scores.items()},
    )
    spread = f" (standard deviation over domains and seeds {share.std:.1f})" if share.std is not None else ""
    verdict = f"The condition delta >= 0 holds for {share.mean:.1f} %{spread} of the test images. {text} {gain_text}"
    groups = [
        {"label": domain, "x": [p[1] for p in values], "y": [p[2] for p in values]} for domain, values in points.items()
    ]
    panel = {
        "xlabel": "mean delta of a class (cosine)",
        "ylabel": f"gain of alpha = {used:g} over 0 (points)",
        "groups": groups,
        **({"line": line} if line else {}),
    }
    rows = tuple(
        (domain, label, f"{delta:+.4f}", f"{gain:+.2f}")
        for domain, values in points.items()
        for label, delta, gain in values
    )
    return Outcome(
        f"negative_constraint-{name}",
        f"DPSPG: negative constraint, class by class ({name})",
        "A point is one class of one held-out domain, means over its test images and over seeds. delta: smallest "
        "negative score of a wrong class less that of the true class; the margin argument needs it to be at least 0.",
        verdict,
        "Gain in accuracy against delta, one point per class and held-out domain; see the verdict.",
        "scatter",
        (panel,),
        Table(("domain", "class", "delta", "gain (points)"), rows, f"Negative constraint ({name})"),
        ("Classes of one domain share their images' negatives, so the points are not independent.",),
    )


def class_points(scores: list[Scores]) -> list[tuple[str, float, float]]:
    """Return (class, mean delta, gain in points of its accuracy), means over runs of one domain."""
    points = []
    for k, classname in enumerate(scores[0].classnames):
        deltas, gains = [], []
        for score in scores:
            own = score.labels == k
            if own.any():
                deltas.append(float(negative_deltas(score.negative[own], score.labels[own]).mean()))
                change = score.right(score.alpha)[own].double() - score.right(0.0)[own].double()
                gains.append(100 * float(change.mean()))
        if deltas:
            points.append((classname, mean(deltas), mean(gains)))
    return points
