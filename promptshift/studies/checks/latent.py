"""LDPF (arXiv 2511.00067): how many latent domains, what selection could gain, what clusters are, correlations."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from promptshift.results.statistics import mean
from promptshift.results.tables import Measured, Table
from promptshift.runs.reopen import reopen
from promptshift.studies.bench import Bench, Runs, place_of
from promptshift.studies.features import in_batches, split_features, test_features
from promptshift.studies.maps import MOST, planar_map
from promptshift.studies.outcome import Outcome
from promptshift.studies.registry import study
from promptshift.studies.words import compared

NUMBERS = (2, 3, 4, 5, 6)  # of latent domains: the range the paper tunes in


@study("n_s", "LDPF against the number of latent domains, and the gap to the oracle that selects a prompt per image")
def number_of_domains(bench: Bench) -> list[Outcome]:
    """Train with every number of latent domains."""
    runs = {number: bench.leave_one_out("LDPF", "TRAINER.LDPF.N_S", str(number)) for number in NUMBERS}
    records = {number: {key: done.record for key, done in own.items()} for number, own in runs.items()}
    return [number_outcome(place_of(runs[NUMBERS[0]]), records)]


def number_outcome(name: str, records: dict[int, dict[tuple[str, int], dict]]) -> Outcome:
    """Return accuracy, oracle U_sel and purity by number of latent domains, from records by (domain, seed)."""
    accuracy = {n: {key: r["metrics"]["accuracy"] for key, r in own.items()} for n, own in records.items()}
    oracle = {n: {key: r["diagnostics"]["fusion"]["u_sel"] for key, r in own.items()} for n, own in records.items()}
    purity = {
        n: {key: r["diagnostics"]["latent_domains"]["purity"] for key, r in own.items()} for n, own in records.items()
    }
    gaps = {n: {key: oracle[n][key] - accuracy[n][key] for key in own} for n, own in records.items()}
    cells = {n: [over_seeds(table[n]) for table in (accuracy, oracle, gaps, purity)] for n in records}
    series = [
        {
            "label": label,
            "x": list(records),
            "y": [cells[n][i].mean for n in records],
            "spread": [cells[n][i].std or 0 for n in records],
        }
        for i, label in enumerate(("fusion (LDPF)", "oracle selection U_sel"))
    ]
    best, default = max(records, key=lambda n: cells[n][0].mean), 3
    verdict = (
        f"Gap to the oracle at N_S = {default}: {cells[default][2]} points (by N_S, "
        f"{', '.join(f'{n}: {cells[n][2].mean:.2f}' for n in records)}; more prompts are more to choose from). "
        f"Highest accuracy at N_S = {best}. "
        + (
            compared(f"N_S = {best}", accuracy[best], f"N_S = {default}", accuracy[default])
            if best != default
            else compared("N_S = 3", accuracy[3], "N_S = 2", accuracy[2])
        )
    )
    header = ("N_S", "accuracy (%)", "U_sel, oracle ‡ (%)", "gap (points)", "purity of the clusters")
    rows = tuple((str(n), *cells[n]) for n in records)
    return Outcome(
        f"n_s-{name}",
        f"LDPF: number of latent domains and the gap to the oracle ({name})",
        "Mean over held-out domains; spread: standard deviation over seeds. U_sel counts an image as right when any "
        "single prompt is. Purity: share of training images in their cluster's most frequent true domain.",
        verdict,
        "Accuracy of the fusion and of the oracle against the number of latent domains; numbers in the table.",
        "lines",
        ({"xlabel": "number of latent domains N_S", "ylabel": "accuracy (%)", "series": series},),
        Table(header, rows, f"LDPF by number of latent domains ({name})"),
        (
            "‡ U_sel looks at the labels of test images: an upper bound, no result.",
            "The paper prints gaps of 2.98 (OfficeHome) and 12.05 (TerraIncognita) points.",
        ),
    )


def over_seeds(values: dict[tuple[str, int], float]) -> Measured:
    """Return mean and spread over seeds of the mean over domains."""
    seeds = sorted({seed for _, seed in values})
    return Measured.of([mean([value for (_, own), value in values.items() if own == seed]) for seed in seeds])


@study("feature_map", "t-SNE of image features and of LDPF's domain features, by domain and by latent cluster")
def feature_map(bench: Bench) -> list[Outcome]:
    """Draw the validation images of the sources and the test images of one held-out domain of one run."""
    runs = bench.one_run("LDPF")
    (((held_out, seed), done),) = runs.items()
    trainer = reopen(done.folder, images=True)
    parts = [split_features(trainer, trainer.val_loader), test_features(trainer)]
    features, names = torch.cat([part[0] for part in parts]), list(trainer.dm.dataset.domains)
    # LDPF hides the domain labels of training images only; these are of the test and validation lists
    domains = [names[i] for i in torch.cat([part[2] for part in parts]).tolist()]
    z = in_batches(trainer, trainer.domains, features)
    weights = in_batches(trainer, lambda f: trainer.domains.similarity_weights(trainer.domains(f), 1.0), features)
    clusters = [f"latent domain {i + 1}" for i in weights.argmax(dim=1).tolist()]
    panels = (
        {"title": "image features f, by domain", **planar_map(features, domains, seed)},
        {"title": "domain features z, by domain", **planar_map(z, domains, seed)},
        {"title": "domain features z, by latent domain", **planar_map(z, domains, seed, clusters)},
    )
    record = done.record["diagnostics"]["latent_domains"]
    rows = tuple((f"latent domain {i + 1}", *map(str, counts)) for i, counts in enumerate(record["table"]))
    name = place_of(runs)
    return [
        Outcome(
            f"feature_map-{name}",
            f"Image features and latent domains ({name}, {held_out} held out)",
            f"t-SNE of frozen image features and of LDPF's domain features, for validation images of the sources and test "
            f"images of {held_out}; at most {MOST} images per domain. The table counts training images.",
            f"{100 * record['purity']:.1f} % of the training images lie in a cluster whose most frequent domain is theirs "
            f"(one domain for all would give {100 * _largest_share(record['table']):.1f} %); one run, no uncertainty.",
            "Three maps of points: image features by domain, domain features by domain and by latent domain.",
            "scatter",
            panels,
            Table(("", *record["true_domains"]), rows, f"Training images by latent and true domain ({name})"),
        )
    ]


def _largest_share(table: list[list[int]]) -> float:
    totals = [sum(column) for column in zip(*table)]
    return max(totals) / sum(totals)


RARE = 0.2  # share of a class's images that stay in a domain which is not its own


@study("correlation", "does LDPF's adversarial loss hurt where class and domain are correlated")
def correlation(bench: Bench) -> list[Outcome]:
    """Train with and without the adversarial loss, on the dataset as it is and on a skewed selection of its images."""
    plain, skewed = _with_and_without(bench), _with_and_without(skewed_bench(bench))
    return [
        correlation_outcome(
            place_of(plain["with"]),
            {
                "as it is": {key: _accuracies(runs) for key, runs in plain.items()},
                "correlated": {key: _accuracies(runs) for key, runs in skewed.items()},
            },
        )
    ]


def _with_and_without(bench: Bench) -> dict[str, Runs]:
    return {
        "with": bench.leave_one_out("LDPF"),
        "without": bench.leave_one_out("LDPF", "TRAINER.LDPF.ADVERSARIAL", "False"),
    }


def _accuracies(runs: Runs) -> dict[tuple[str, int], float]:
    return {key: done.accuracy for key, done in runs.items()}


def skewed_bench(bench: Bench) -> Bench:
    """Return a bench on a folder of the dataset's images in which every class belongs to one domain.

    Class k belongs to domain k modulo the number of domains; elsewhere only the first `RARE` of its images stay.
    """
    bench.leave_plan()
    request = bench.request("LDPF")
    images = _image_folders(request)
    name = f"correlated/{request.dataset}"
    folder = Path(request.cfg.DATASET.ROOT) / name
    classes = sorted({name for own in images.values() for name in own})
    for index, domain in enumerate(sorted(images)):
        for label, classname in enumerate(classes):
            paths = images[domain].get(classname, [])
            share = 1.0 if label % len(images) == index else RARE
            _share(paths[: max(2, round(share * len(paths)))], folder / domain / classname)
    other = Bench(
        ["my_folder", *([bench.backbone] if bench.backbone else []), *bench.options, "DATASET.FOLDER", name],
        bench.seeds,
        config=bench.config or request.config_file.stem,
        launch=bench.launch,
    )
    return other


def _image_folders(request) -> dict[str, dict[str, list[Path]]]:
    """Return domain -> class -> images of the request's dataset, which is got or rendered where it is absent."""
    from dassl.data.datasets import build_dataset

    cfg = request.cfg.clone()
    cfg.defrost()
    cfg.DATASET.SOURCE_DOMAINS, cfg.DATASET.TARGET_DOMAINS = list(request.domains), list(request.domains)
    data = build_dataset(cfg)
    images: dict[str, dict[str, list[Path]]] = {domain: {} for domain in request.domains}
    for item in sorted(data.train_x + (data.val or []), key=lambda item: item.impath):
        images[data.domains[item.domain]].setdefault(item.classname, []).append(Path(item.impath).resolve())
    return images


def _share(paths: list[Path], folder: Path) -> None:
    """Make `folder` hold `paths`, as hard links where the file system has them, else as copies.

    Symbolic links would lead out of the folder, which those of a dataset may not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if not (folder / path.name).exists():
            try:
                os.link(path, folder / path.name)
            except OSError:  # another file system
                shutil.copyfile(path, folder / path.name)


def correlation_outcome(name: str, accuracy: dict[str, dict[str, dict[tuple[str, int], float]]]) -> Outcome:
    """Return the comparison from accuracies by set ("as it is", "correlated"), by "with" or "without", by pair."""
    rows = tuple((which, over_seeds(own["with"]), over_seeds(own["without"])) for which, own in accuracy.items())
    texts = [
        f"Images {which}: " + compared("with the adversarial loss", own["with"], "without it", own["without"])
        for which, own in accuracy.items()
    ]
    return Outcome(
        f"correlation-{name}",
        f"LDPF where class and domain are correlated ({name})",
        "Accuracy on the held-out domain, mean over domains, with and without the adversarial loss. Correlated: every "
        f"class has all its images in one domain and {100 * RARE:.0f} % of them in each other one, in training and in "
        "test.",
        " ".join(texts),
        table=Table(("images", "with the adversarial loss", "without"), rows, f"LDPF's adversarial loss ({name}), %"),
        notes=("The correlated set is smaller, so its accuracies are compared within a row only.",),
    )
