"""CoOp (arXiv 2109.01134): accuracy against the number of training images per class, its figure 3."""

from __future__ import annotations

from collections.abc import Mapping

from promptshift.results.tables import Measured, Table
from promptshift.studies.bench import Bench, Runs, place_of
from promptshift.studies.outcome import Outcome
from promptshift.studies.registry import study
from promptshift.studies.words import SEEDS, compared

TRAINERS = ("ZeroshotCLIP", "LinearProbe", "CoOp")  # the figure's curves


@study("few_shot_curves", "CoOp, linear probe and zero-shot CLIP against the number of training images per class")
def few_shot_curves(bench: Bench) -> list[Outcome]:
    """Train CoOp and the linear probe with 1, 2, 4, 8 and 16 images per class."""
    runs = {trainer: bench.of_protocol("few_shot_sweep", trainer) for trainer in TRAINERS}
    accuracy = {trainer: _by_shots(own) for trainer, own in runs.items()}
    return [few_shot_outcome(place_of(runs["CoOp"]), accuracy)]


def _by_shots(runs: Runs) -> dict[int, dict[int, float]]:
    """Return shots -> seed -> accuracy."""
    found: dict[int, dict[int, float]] = {}
    for (shots, seed), done in runs.items():
        found.setdefault(int(shots), {})[seed] = done.accuracy
    return found


def few_shot_outcome(name: str, accuracy: dict[str, dict[int, dict[int, float]]]) -> Outcome:
    """Return the curves from accuracies by trainer, shots (0: none are used) and seed."""
    cells = {
        trainer: {k: Measured.of(list(own.values())) for k, own in by_shots.items()}
        for trainer, by_shots in accuracy.items()
    }
    coop, seeds = accuracy["CoOp"], list(next(iter(accuracy["CoOp"].values())))
    zero = {seed: accuracy["ZeroshotCLIP"][0][seed] for seed in seeds}
    above = [k for k in coop if min(coop[k].values()) > max(zero.values())]
    most = max(coop)
    verdict = (
        f"CoOp is above zero-shot CLIP ({cells['ZeroshotCLIP'][0].mean:.2f} %) with every seed at "
        f"{', '.join(map(str, above)) or 'no number of'} images per class. "
        + " ".join(
            compared(f"CoOp with {most}", coop[most], other, own, SEEDS)
            for other, own in (
                ("zero-shot CLIP", zero),
                (f"the linear probe with {most}", accuracy["LinearProbe"][most]),
            )
        )
    )
    columns = sorted({k for by_shots in cells.values() for k in by_shots})
    rows = tuple((trainer, *(own.get(k) for k in columns)) for trainer, own in cells.items())
    return Outcome(
        f"few_shot-{name}",
        f"Few-shot curves of CoOp ({name})",
        "Test accuracy against the number of training images per class; bands: standard deviation over seeds "
        f"{' '.join(map(str, seeds))}. Zero-shot CLIP uses none.",
        verdict,
        "Accuracy against shots for CoOp, linear probe and zero-shot CLIP; numbers in the table.",
        "lines",
        (few_shot_panel(cells),),
        Table(("accuracy (%)", *map(str, columns)), rows, f"By images per class ({name})"),
    )


def few_shot_panel(cells: Mapping[str, Mapping[int, Measured]]) -> dict:
    """Return the picture's data: a curve over shots for each label."""
    series = [
        {
            "label": label,
            "x": list(own),
            "y": [cell.mean for cell in own.values()],
            "spread": [cell.std or 0 for cell in own.values()],
        }
        for label, own in cells.items()
    ]
    return {"xlabel": "training images per class", "ylabel": "accuracy (%)", "series": series}
