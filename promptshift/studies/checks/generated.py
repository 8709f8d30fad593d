"""Generated prompts of SPG (arXiv 2404.19286) and DPSPG (arXiv 2505.18770): stability, maps, spread over seeds."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from dassl.utils.errors import UserError
from promptshift.protocols.config_files import is_mini_world
from promptshift.results.diagnostics import distance_ratio, last_epochs_std
from promptshift.results.statistics import mean, population_std
from promptshift.results.tables import Measured, Table
from promptshift.runs.reopen import reopen
from promptshift.studies.bench import Bench, Done, Runs, place_of
from promptshift.studies.features import in_batches, split_features, test_features
from promptshift.studies.maps import MOST, planar_map
from promptshift.studies.outcome import Outcome
from promptshift.studies.registry import study
from promptshift.studies.words import DOMAINS, compared

TRAINERS = {"SPG": "prompt", "DPSPG": "pos"}  # and the path whose prompts are compared
MINI_EPOCHS = 20  # of the stability study in the embedded world, whose usual runs are too short for it
LAST = 10  # epochs that the papers' standard deviation is taken over


@study("stability", "validation accuracy over the last epochs, SPG against DPSPG")
def stability(bench: Bench) -> list[Outcome]:
    """Train both with a validation after every epoch."""
    options = ["TEST.EVAL_FREQ", "1"]
    if is_mini_world(bench.dataset) and "OPTIM.MAX_EPOCH" not in bench.options:
        options += ["OPTIM.MAX_EPOCH", str(MINI_EPOCHS)]
    runs = {trainer: bench.leave_one_out(trainer, *options) for trainer in TRAINERS}
    histories = {trainer: {key: done.record["history"] for key, done in own.items()} for trainer, own in runs.items()}
    return [stability_outcome(place_of(runs["SPG"]), histories)]


def stability_outcome(name: str, histories: dict[str, dict[tuple[str, int], list[dict]]]) -> Outcome:
    """Return validation accuracy over epochs and its standard deviation over the last ones, by trainer."""
    series, spreads = [], {}
    for trainer, runs in histories.items():
        curves = [[epoch["val_accuracy"] for epoch in history if "val_accuracy" in epoch] for history in runs.values()]
        epochs = list(zip(*curves))  # per epoch, the runs' accuracies
        series.append(
            {
                "label": trainer,
                "x": list(range(1, len(epochs) + 1)),
                "y": list(map(mean, epochs)),
                "spread": list(map(population_std, epochs)),
            }
        )
        spreads[trainer] = {
            key: std for key, history in runs.items() if (std := last_epochs_std(history, LAST)) is not None
        }
    rows = tuple(
        (trainer, Measured.of(list(values.values())), str(len(values))) for trainer, values in spreads.items() if values
    )
    verdict = (
        f"Standard deviation over the last {LAST} epochs. "
        + compared("DPSPG", spreads["DPSPG"], "SPG", spreads["SPG"])
        + " The paper prints 3.7 (DPSPG) and 9.8 (SPG) for its own setting."
    )
    return Outcome(
        f"stability-{name}",
        f"Accuracy over the last epochs, SPG against DPSPG ({name})",
        "Accuracy on the validation images of the source domains after every epoch: mean and standard deviation (band) "
        "over held-out domains and seeds.",
        verdict,
        "Validation accuracy by epoch, one curve for SPG and one for DPSPG; the spreads stand in the table.",
        "lines",
        ({"xlabel": "epoch", "ylabel": "validation accuracy (%)", "series": series},),
        Table(("trainer", f"std over the last {LAST} epochs (points)", "runs"), rows, f"Stability ({name})"),
    )


@study("prompt_map", "t-SNE of generated prompts by domain, SPG against DPSPG (DPSPG's figure 2)")
def prompt_map(bench: Bench) -> list[Outcome]:
    """Draw the prompts generated for validation images of the sources and test images of one held-out domain."""
    panels, rows, held_out, name = [], [], "", ""
    for trainer, path in TRAINERS.items():
        runs = bench.one_run(trainer)
        (((held_out, seed), done),) = runs.items()
        name = place_of(runs)
        contexts, domains, names = _contexts(done, path)
        panels.append({"title": trainer, **planar_map(contexts.flatten(1), [names[i] for i in domains.tolist()], seed)})
        sources = domains != names.index(held_out)
        rows.append(
            (
                trainer,
                _number(distance_ratio(contexts, domains)),
                _number(distance_ratio(contexts[sources], domains[sources])),
            )
        )
    return [
        Outcome(
            f"prompt_map-{name}",
            f"Prompts generated for images of each domain ({name}, {held_out} held out)",
            "t-SNE of the context vectors generated for images of the source domains (validation split) and of the "
            f"held-out domain {held_out} (test images); at most {MOST} images per domain. Distances in such a map are no "
            "measurements; the ratio in the table is: mean distance to the own domain's mean prompt over mean distance of "
            "two domains' mean prompts.",
            _ratio_verdict(rows),
            "Two maps of points coloured by domain, SPG and DPSPG; the ratios stand in the table.",
            "scatter",
            tuple(panels),
            Table(
                ("trainer", "intra/inter ratio, all domains", "source domains only"), tuple(rows), f"Ratios ({name})"
            ),
            (
                "The paper prints a ratio of 0.24 for DPSPG and 0.97 for DPL, in its own setting; one run of each is drawn "
                "here, so no uncertainty can be stated.",
            ),
        )
    ]


def _ratio_verdict(rows: list[tuple[str, str, str]]) -> str:
    texts = " and ".join(f"{ratio} for {trainer}" for trainer, ratio, _ in rows)
    return f"Intra-domain over inter-domain distance of the generated prompts: {texts}; smaller means tighter domains."


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _contexts(done: Done, path: str) -> tuple[Tensor, Tensor, list[str]]:
    """Return prompts (N, M, D), domains (N,) and domain names: validation images of the sources, then test images."""
    trainer = reopen(done.folder, images=True)
    parts = [split_features(trainer, trainer.val_loader), test_features(trainer)]
    contexts = torch.cat([in_batches(trainer, lambda f: trainer.contexts(path, f), part[0]) for part in parts])
    return contexts, torch.cat([domains for _, _, domains in parts]), list(trainer.dm.dataset.domains)


@study("variability", "how much the prompt of one image moves from seed to seed, SPG against DPSPG")
def variability(bench: Bench) -> list[Outcome]:
    """Compare the prompts that runs with different seeds generate for the same test images.

    Raises:
        UserError: fewer than two seeds.
    """
    if len(bench.seeds) < 2:
        raise UserError(f"SEEDS: {' '.join(map(str, bench.seeds))}, allowed: two or more for this figure")
    measured, name = {}, ""
    for trainer, path in TRAINERS.items():
        runs = bench.leave_one_out(trainer)
        name = place_of(runs)
        measured[trainer] = {domain: _between_seeds(runs, domain, path) for domain in dict.fromkeys(k[0] for k in runs)}
    return [variability_outcome(name, measured)]


def _between_seeds(runs: Runs, domain: str, path: str) -> dict[str, float]:
    """Return the numbers of `seed_spread` for the test images of a held-out domain."""
    contexts = []
    for key, done in runs.items():
        if key[0] == domain:
            trainer = reopen(done.folder, images=True)
            features, _, _ = test_features(trainer)
            contexts.append(in_batches(trainer, lambda f, t=trainer: t.contexts(path, f), features))
    return seed_spread(contexts)


def seed_spread(contexts: list[Tensor]) -> dict[str, float]:
    """How much prompts for the same images differ between seeds, relative to their mean length.

    Args:
        contexts: for each seed, (N, M, D) prompts of the same N images; two seeds or more.

    Returns:
        percent of the mean length of a prompt: `distance` of an image's prompts of two seeds (mean over images and
        pairs), `common` part of it (distance of the two seeds' mean prompts), and `images`, the mean distance of an
        image's prompt to the mean prompt of its seed.
    """
    flat = [context.flatten(1).double() for context in contexts]
    length = mean([float(c.norm(dim=1).mean()) for c in flat])
    pairs = list(combinations(flat, 2))
    return {
        "distance": 100 * mean([float((a - b).norm(dim=1).mean()) for a, b in pairs]) / length,
        "common": 100 * mean([float((a.mean(0) - b.mean(0)).norm()) for a, b in pairs]) / length,
        "images": 100 * mean([float((c - c.mean(0)).norm(dim=1).mean()) for c in flat]) / length,
    }


def variability_outcome(name: str, measured: dict[str, dict[str, dict[str, float]]]) -> Outcome:
    """Return the comparison from `seed_spread` by trainer and held-out domain."""
    kinds = {
        "distance": "between seeds, same image",
        "common": "of which common to all images",
        "images": "between images, same seed",
    }
    rows = tuple(
        (trainer, *(Measured.of([values[kind] for values in by_domain.values()]) for kind in kinds))
        for trainer, by_domain in measured.items()
    )
    per_domain = {
        trainer: {(domain, 0): values["distance"] for domain, values in by_domain.items()}
        for trainer, by_domain in measured.items()
    }
    text = compared("DPSPG", per_domain["DPSPG"], "SPG", per_domain["SPG"], DOMAINS)
    return Outcome(
        f"variability-{name}",
        f"Prompts of the same image from different seeds ({name})",
        "Distances in percent of the mean length of a prompt; mean ± standard deviation over held-out domains.",
        f"Distance between the prompts of two seeds for the same image, in percent of a prompt's length. {text}",
        table=Table(("trainer", *kinds.values()), rows, f"Variability over seeds ({name}), % of a prompt's length"),
        notes=(
            "Every seed trains prompt labels of its own; the part of the distance that is common to all images is "
            "where they show.",
        ),
    )
