"""DPC (arXiv 2503.13443): what the weights of the parallel prompt buy on base classes and cost on new ones."""

from __future__ import annotations

from pathlib import Path

from dassl.talk import quiet
from promptshift.results.statistics import harmonic_mean, population_std
from promptshift.results.tables import Measured, Table
from promptshift.runs.reopen import reopen
from promptshift.studies.bench import Bench, place_of
from promptshift.studies.outcome import Outcome
from promptshift.studies.registry import study
from promptshift.studies.words import SEEDS, compared

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)  # of P', those of the poster's two sweeps
KEYS = {"Base": "WEIGHT", "New": "WEIGHT_FOR_NEW"}
Sweep = dict[str, dict[float, dict[tuple[str, int], float]]]  # half -> weight -> (dataset, seed) -> accuracy


@study("trade_off", "DPC on base and new classes against the weight of its parallel prompt (w_b and w_n)")
def trade_off(bench: Bench) -> list[Outcome]:
    """Test the weights of one training with every weight of the parallel prompt, on either half of the classes."""
    runs = bench.of_protocol("base_to_new", "DPC")
    name, dataset = place_of(runs), next(iter(runs.values())).record["dataset"]
    sweep: Sweep = {half: {weight: {} for weight in WEIGHTS} for half in KEYS}
    for (half, seed), done in runs.items():
        for weight, accuracy in _by_weight(done.folder, runs["Base", seed].folder, KEYS[half]).items():
            sweep[half][weight][dataset, seed] = accuracy
    backbone = next(iter(runs.values())).record["trainer"]
    return [trade_off_outcome(f"{backbone}-{name}", sweep)]


def _by_weight(folder: Path, trained: Path, key: str) -> dict[float, float]:
    """Return accuracy by weight of a run's test, with the weights that the run in `trained` learnt."""
    trainer = reopen(folder, images=True, trained=trained)
    trainer.options.defrost()
    found = {}
    for weight in WEIGHTS:
        trainer.options[key] = weight
        with quiet():
            found[weight] = trainer.evaluate_loader(trainer.test_loader)["accuracy"]
    return found


def trade_off_outcome(name: str, sweep: Sweep) -> Outcome:
    """Return both sweeps and the curve of base against new accuracy."""
    cells = {
        half: {w: Measured.of(list(values.values())) for w, values in by_weight.items()}
        for half, by_weight in sweep.items()
    }
    joint = {w: _harmonic(sweep, w, w) for w in WEIGHTS}
    apart = {w: _harmonic(sweep, w, 0.0) for w in WEIGHTS}
    rows = tuple((f"{w:g}", cells["Base"][w], cells["New"][w], joint[w], apart[w]) for w in WEIGHTS)
    best = max(WEIGHTS, key=lambda w: apart[w].mean)
    verdict = (
        f"Decoupled (new classes at weight 0), H is highest at w_b = {best:g}: {apart[best].mean:.2f} against "
        f"{apart[0.0].mean:.2f} of the tuned prompt alone; with one weight for both halves the best is "
        f"{max(cell.mean for cell in joint.values()):.2f}. On base classes, "
        + compared("w_b = 0.2", sweep["Base"][0.2], "the tuned prompt", sweep["Base"][0.0], SEEDS)
        + " On new classes, "
        + compared("w_n = 0.2", sweep["New"][0.2], "the tuned prompt", sweep["New"][0.0], SEEDS)
    )
    return Outcome(
        f"trade_off-{name}",
        f"DPC: base and new classes against the weight of the parallel prompt ({name})",
        "Weight w of the parallel prompt in the mixture that is tested; training does not see it. Left and middle: "
        "mean and standard deviation (band) over seeds. Right: the same points against each other.",
        verdict,
        "Base accuracy, new accuracy, and one against the other, by weight from 0 to 1; numbers in the table.",
        "lines",
        _panels(cells),
        Table(
            ("w", "Base (w_b = w)", "New (w_n = w)", "H, one weight for both", "H, new at 0"),
            rows,
            f"DPC by weight of the parallel prompt ({name}), %",
        ),
        ("H: harmonic mean of the means over seeds, its spread that of H per seed.",),
    )


def _panels(cells: dict[str, dict[float, Measured]]) -> tuple[dict, ...]:
    halves = [
        {
            "title": f"{half} classes",
            "xlabel": f"weight {'w_b' if half == 'Base' else 'w_n'}",
            "ylabel": "accuracy (%)",
            "series": [_series(f"DPC, {half.lower()}", cells[half])],
        }
        for half in KEYS
    ]
    base, new = ([cells[half][w].mean for w in WEIGHTS] for half in KEYS)
    curve = {
        "title": "trade-off",
        "xlabel": "new classes (%)",
        "ylabel": "base classes (%)",
        "series": [
            {"label": "one weight for both", "x": new, "y": base},
            {"label": "decoupled, new at 0", "x": [new[0]] * len(base), "y": base},
        ],
    }
    return (*halves, curve)


def _series(label: str, by_weight: dict[float, Measured]) -> dict:
    return {
        "label": label,
        "x": list(by_weight),
        "y": [cell.mean for cell in by_weight.values()],
        "spread": [cell.std or 0 for cell in by_weight.values()],
    }


def _harmonic(sweep: Sweep, base_weight: float, new_weight: float) -> Measured:
    base, new = sweep["Base"][base_weight], sweep["New"][new_weight]
    each = [harmonic_mean([base[key]], [new[key]]) for key in base]
    value = harmonic_mean(list(base.values()), list(new.values()))
    return Measured(value, population_std(each) if len(each) > 1 else None)
