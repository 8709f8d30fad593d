"""Looking into a trained model: the words nearest to learnt context vectors, and which classes are confused."""

from __future__ import annotations

import torch
from torch import Tensor

from dassl.engine import TrainerX
from promptshift.modeling.latent_domains import contingency
from promptshift.results.tables import Table
from promptshift.runs.reopen import reopen
from promptshift.studies.bench import Bench, place_of
from promptshift.studies.features import in_batches, test_features
from promptshift.studies.outcome import Outcome
from promptshift.studies.registry import study

NEAREST = 5  # words of a context vector


@study("words", "words whose embeddings are nearest to the context vectors that CoOp learnt (arXiv 2109.01134)")
def words(bench: Bench) -> list[Outcome]:
    """List the nearest words of the contexts of one seed, for every held-out domain."""
    runs = bench.leave_one_out("CoOp")
    seed = min(seed for _, seed in runs)
    rows = []
    for domain in dict.fromkeys(key[0] for key in runs):
        trainer = reopen(runs[domain, seed].folder, images=True)
        contexts = trainer.prompt_learner.ctx.detach().flatten(0, -2)  # with CSC, those of one class after another
        for place, found in enumerate(nearest_words(trainer.clip, contexts), start=1):
            rows.append((domain, str(place), ", ".join(f"{word} ({distance:.3f})" for word, distance in found)))
    name = place_of(runs)
    return [
        Outcome(
            f"words-{name}",
            f"Nearest words of CoOp's context vectors ({name}, seed {seed})",
            "Words of the tokenizer's vocabulary by Euclidean distance of their embedding to a learnt context vector "
            "(distance in brackets).",
            table=Table(("held out", "vector", "nearest words"), tuple(rows), f"Nearest words ({name}, seed {seed})"),
            notes=(
                "A nearest word need not be a near one: compare the distances. In the embedded world's CLIP all words "
                "but some ninety are as they were drawn.",
            ),
        )
    ]


def nearest_words(clip, contexts: Tensor, count: int = NEAREST) -> list[list[tuple[str, float]]]:
    """Return the nearest words, `count` of them, and their distances, of each context vector (M, D)."""
    vocabulary = torch.arange(clip.text.token_embedding.num_embeddings, device=clip.device)
    table = clip.embed_tokens(vocabulary).float()  # (V, D)
    distances = torch.cdist(contexts.to(table), table)  # (M, V)
    values, tokens = distances.topk(count, largest=False)
    decoder = clip.tokenizer.decoder
    return [
        [(decoder[token].replace("</w>", ""), distance) for token, distance in zip(row, near)]
        for row, near in zip(tokens.tolist(), values.tolist())
    ]


@study("confusion", "which classes CoOp takes for which on the held-out domains")
def confusion(bench: Bench) -> list[Outcome]:
    """Count predictions by true class over the held-out domains of one seed."""
    runs = bench.leave_one_out("CoOp")
    seed = min(seed for _, seed in runs)
    pooled, names = None, []
    for domain in dict.fromkeys(key[0] for key in runs):
        trainer = reopen(runs[domain, seed].folder, images=True)
        counts, names = predictions(trainer), list(trainer.dm.dataset.classnames)
        pooled = counts if pooled is None else pooled + counts
    shares = 100 * pooled.double() / pooled.sum(1, keepdim=True).clamp_min(1)
    name = place_of(runs)
    panel = {
        "xlabel": "predicted",
        "ylabel": "true",
        "rows": names,
        "columns": names,
        "unit": "% of the true class",
        "values": [[round(value, 2) for value in row] for row in shares.tolist()],
    }
    rows = tuple((names[i], names[j], str(int(pooled[i, j])), f"{shares[i, j]:.1f}") for i, j in worst(pooled))
    return [
        Outcome(
            f"confusion-{name}",
            f"CoOp's confusions on the held-out domains ({name}, seed {seed})",
            "Percent of the test images of a true class (row) that are taken for a class (column); every domain is held "
            "out once and counted once.",
            alt="Matrix of true against predicted classes; the largest confusions are in the table.",
            kind="matrix",
            panels=(panel,),
            table=Table(("true", "predicted", "images", "% of the true class"), rows, f"Largest confusions ({name})"),
        )
    ]


def predictions(trainer: TrainerX) -> Tensor:
    """Return counts (K, K) of the run's test images: row true class, column predicted class."""
    features, labels, _ = test_features(trainer)
    predicted = in_batches(trainer, lambda part: trainer.predict_features(part).argmax(dim=1), features)
    k = len(trainer.dm.dataset.classnames)
    return contingency(labels, predicted, k, k)


def worst(counts: Tensor, most: int = 12) -> list[tuple[int, int]]:
    """Return the (true, predicted) classes of the largest counts off the diagonal, largest first, without zeros."""
    wrong = counts.clone().fill_diagonal_(0)
    order = wrong.flatten().argsort(descending=True, stable=True)[:most].tolist()
    return [(i // len(counts), i % len(counts)) for i in order if wrong.flatten()[i] > 0]
