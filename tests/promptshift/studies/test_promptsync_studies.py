"""PromptSync's checks: their numbers against numpy, what they say, and each on a stream of a few images."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dassl.utils.errors import UserError
from helpers.mini_runs import small_mini_world
from promptshift.results.diagnostics import (
    balance,
    bootstrap_intervals,
    class_agreement,
    deviations,
    differing_share,
    long_tail,
    view_variance,
)
from promptshift.results.significance import compare
from promptshift.studies.bench import Bench
from promptshift.studies.checks.collapse import balance_change, balance_outcome, collapse_outcome
from promptshift.studies.checks.components import (
    components_outcome,
    frequency_groups,
    imbalanced_outcome,
    long_tailed_rows,
    running_difference,
)
from promptshift.studies.checks.prototypes import agreement_outcome
from promptshift.studies.outcome import read_outcome
from promptshift.studies.registry import get_study
from promptshift.studies.target import ENTROPY, FULL, NONE, PROMPTALIGN, Adapted, Target, whole

FEW = [
    word
    for block in ("PROMPTSYNC", "PROMPTALIGN")
    for key, value in {"VIEWS": "4", "TPT_THRESHOLD": "0.25", "START.MAX_EPOCH": "1"}.items()
    for word in (f"TRAINER.{block}.{key}", value)
]


def draw(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


# Pure functions


def test_variances_are_numpys():
    points, views = draw(7, 2, 3), draw(5, 4, 6, seed=1)
    assert float(deviations(points).mean()) == pytest.approx(np.var(points.numpy().reshape(7, 6), axis=0).sum())
    expected = views.numpy().var(axis=1).sum(axis=-1)
    np.testing.assert_allclose(view_variance(views).numpy(), expected, rtol=1e-5)


def test_the_differing_share_tells_a_common_move_from_one_of_each_image():
    common = draw(1, 6).expand(4, 6)
    assert differing_share(common) == pytest.approx(0, abs=1e-9)
    assert differing_share(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(100)
    assert differing_share(torch.tensor([[1.0, 1.0], [1.0, -1.0]])) == pytest.approx(50)
    assert differing_share(torch.zeros(3, 2)) is None


def test_class_agreement_is_that_of_plain_loops():
    text, vision = F.normalize(draw(6, 4), dim=-1), F.normalize(draw(6, 4, seed=3), dim=-1)
    found, cosines = class_agreement(text, vision), vision.numpy() @ text.numpy().T
    for k in range(6):
        assert float(found["own"][k]) == pytest.approx(cosines[k, k], abs=1e-6)
        assert float(found["other"][k]) == pytest.approx(max(cosines[k, j] for j in range(6) if j != k), abs=1e-6)
        assert bool(found["vision_right"][k]) == (np.argmax(cosines[k]) == k)
        assert bool(found["text_right"][k]) == (np.argmax(cosines[:, k]) == k)
    same = class_agreement(text, text)
    assert same["vision_right"].all() and same["text_right"].all() and same["own"].min() > 0.999


def test_balance_is_entropy_largest_share_and_total_variation():
    predicted, labels = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 0, 1, 1, 2, 3])
    shares, true = np.array([3, 2, 1, 0]) / 6, np.array([2, 2, 1, 1]) / 6
    found = balance(predicted, labels, 4)
    assert found["entropy"] == pytest.approx(-sum(p * np.log(p) for p in shares if p))
    assert found["largest"] == pytest.approx(50) and found["distance"] == pytest.approx(50 * abs(shares - true).sum())
    assert balance(labels, labels, 4)["distance"] == 0


def test_the_bootstrap_interval_is_near_the_normal_one_and_repeatable():
    values = draw(400).double()

    def both(rows):
        return float(values[rows].mean()), float(values[rows].max())

    (low, high), (_, most) = found = bootstrap_intervals(both, 400, seed=1)
    half = 1.96 * float(values.std()) / 20
    assert low == pytest.approx(float(values.mean()) - half, abs=0.02)
    assert high == pytest.approx(float(values.mean()) + half, abs=0.02)
    assert most == pytest.approx(float(values.max())) and found == bootstrap_intervals(both, 400, seed=1)


def test_a_long_tail_has_its_ratio_its_size_and_no_class_beyond_what_there_is():
    sizes = long_tail([100] * 11, images=220, ratio=10, seed=0)
    assert max(sizes) == 10 * min(sizes) or max(sizes) / min(sizes) == pytest.approx(10, rel=0.1)
    assert sum(sizes) == pytest.approx(220, abs=6) and sizes != sorted(sizes, reverse=True)
    falling = np.array(sorted(sizes, reverse=True), float)
    np.testing.assert_allclose(falling, falling[0] * 10 ** (-np.arange(11) / 10), atol=1)
    assert long_tail([100] * 11, 220, 10, seed=0) == sizes != long_tail([100] * 11, 220, 10, seed=1)
    few = long_tail([3, 0, 50, 50], images=100, ratio=4, seed=0)
    assert few[1] == 0 and few[0] <= 3 and min(few[0], *few[2:]) >= 1


def test_long_tailed_rows_have_the_sizes_and_depend_on_the_seed_alone():
    labels = [k for k in range(5) for _ in range(20)]
    rows = long_tailed_rows(labels, 40, 8, seed=2)
    assert np.bincount([labels[row] for row in rows]).tolist() == long_tail([20] * 5, 40, 8, 2)
    assert rows == long_tailed_rows(labels, 40, 8, seed=2) and len(set(rows)) == len(rows)


def test_groups_are_thirds_of_the_classes_by_frequency():
    labels = torch.tensor([3] * 9 + [0] * 7 + [5] * 5 + [1] * 4 + [2] * 2 + [6])
    groups = frequency_groups(labels)
    assert [sorted(set(labels[rows].tolist())) for rows in groups.values()] == [[0, 3], [1, 5], [2, 6]]
    assert sum(map(len, groups.values())) == len(labels)


# What the outcomes say


def made(seed, n=60, k=5, shrink=1.0):
    """What a variant might have made of n images; its features lie closer to each other where `shrink` is small."""
    logits = draw(n, k, seed=seed)
    measured = {
        "text": draw(n, 8, seed=seed),
        "vision": draw(n, 8, seed=seed + 1),
        "clean": 1 + shrink * draw(n, 6, seed=7),
        "over_views": shrink * draw(n, seed=8).abs(),
    }
    return Adapted(torch.arange(n) % k, logits, measured)


def test_collapsed_features_are_called_lower():
    found = {NONE.label: made(1), FULL.label: made(2, shrink=0.1), "other": made(3)}
    outcome = collapse_outcome("x", "y", found)
    assert outcome.verdict.count("lower beyond the spread of these images") == 3
    assert "over 60 images" in outcome.verdict
    assert "is 0.010 times that of no adaptation: features draw together" in outcome.verdict
    wider = collapse_outcome("x", "y", {**found, FULL.label: made(2, shrink=2)}).verdict
    assert "is 4.000 times" in wider and "do not collapse" in wider
    same = collapse_outcome("x", "y", {**found, FULL.label: made(2)}).verdict
    assert "neither seen nor excluded" in same
    table = {row[0]: row for row in outcome.table.rows}
    clean = found[NONE.label].measured["clean"].numpy()
    assert float(table[NONE.label][5]) == pytest.approx(100 * clean.var(axis=0).sum(), rel=1e-3)
    assert table[NONE.label][3] == "no move" and float(table["other"][3]) > 50


def test_predictions_that_lean_to_one_class_are_said_to():
    start = made(1, n=200)
    leaning = Adapted(start.labels, F.one_hot((start.labels * (torch.arange(200) % 3 > 0)), 5).float(), {})
    text = balance_change("leaning", leaning, start, seed=1)
    assert text.startswith("leaning: entropy -") and "lower), distance to the true classes +" in text
    outcome = balance_outcome("x", "y", {NONE.label: start, "leaning": leaning}, seed=1)
    assert outcome.table.rows[2][2] == f"{100 * float((leaning.predicted == 0).double().mean()):.2f}"
    assert "not told apart" in balance_change("same", start, start, seed=1)


def test_components_are_paired_with_the_whole():
    full, other = (100 * (draw(150, seed=s) > 0).double() for s in (1, 2))
    outcome = components_outcome("x", "y", {FULL.label: full, "other": other})
    paired = compare(dict(enumerate(other.tolist())), dict(enumerate(full.tolist())))
    assert outcome.table.rows[1][2:4] == (f"{paired.difference:+.2f}", f"{paired.low:+.2f} to {paired.high:+.2f}")
    series = running_difference(other, full)
    assert series["x"][-1] == 150 and series["y"][-1] == pytest.approx(paired.difference, abs=1e-3)
    assert series["spread"][-1] == pytest.approx(paired.high - paired.difference, abs=1e-3)
    assert series["y"][0] == pytest.approx(float((other - full)[:15].mean()), abs=1e-3)


def test_the_imbalanced_table_has_both_means():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    labelled = (NONE.label, PROMPTALIGN.label, FULL.label)
    right = dict.fromkeys(labelled, torch.tensor([100.0] * 6 + [0] * 3 + [100]))
    outcome = imbalanced_outcome("x", "y", right, labels, 6)
    assert outcome.table.rows[0][1:] == ("100.00", "0.00", "100.00", "70.00", "66.67")
    assert outcome.panels[0]["series"][0]["x"] == [6, 3, 1] and "6 to 1 images" in outcome.verdict


def test_prototypes_that_come_closer_are_said_to():
    text, vision = F.normalize(draw(8, 6), dim=-1), F.normalize(draw(8, 6, seed=5), dim=-1)
    both = {
        "before": class_agreement(text, vision),
        "after": class_agreement(F.normalize(text + vision, dim=-1), vision),
    }
    outcome = agreement_outcome("x", "y", {"cls": both, "vision": both}, (2.0, 1.0), 40, 1)
    assert outcome.verdict.count("higher beyond the spread of these classes") == 4
    assert outcome.table.rows[1][1] == f"{float(both['after']['own'].mean()):.3f}"


# On a few images


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A data root with 2 images per class and domain, and one output root, so that prompts are learnt once."""
    root = tmp_path_factory.mktemp("studies")
    small_mini_world(root / "data", per_class=2)
    return root


@pytest.fixture
def bench(places, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    monkeypatch.setenv("DATA", str(places / "data"))
    monkeypatch.setenv("OUTPUT", str(places / "output"))
    monkeypatch.setenv("IMAGES", "6")
    monkeypatch.setenv("RATIO", "2")
    return Bench(["mini", *FEW], [1])


@pytest.mark.parametrize(
    "name, rows", [("collapse", 5), ("class_balance", 5), ("components", 5), ("prototype_agreement", 4)]
)
def test_a_study_runs_and_is_drawn_again_from_its_file(bench, name, rows, tmp_path, monkeypatch):
    (outcome,) = get_study(name).answer(bench)
    assert len(outcome.table.rows) == rows and outcome.verdict and outcome.name == f"{name}-MiniDG-mini"
    path = outcome.write(tmp_path)[0]
    assert read_outcome(path).draw() and json.loads(path.read_text())["panels"]
    if name != "prototype_agreement":
        assert "6 images" in outcome.verdict
    if name == "collapse":
        moves = {row[0]: row[3] for row in outcome.table.rows}
        assert moves[NONE.label] == "no move" and moves["discrimination alone"] == "0.0"
        assert float(moves["alignment alone"]) > 1


def test_an_imbalanced_stream_says_its_sizes(bench, monkeypatch):
    monkeypatch.setenv("IMAGES", "24")
    (outcome,) = get_study("imbalanced").answer(bench)
    n = int(outcome.verdict.split()[0])
    assert 20 < n <= 30 and "classes of 2 to 1 images" in outcome.verdict and outcome.draw()
    assert [row[0] for row in outcome.table.rows] == [NONE.label, PROMPTALIGN.label, FULL.label]


def test_an_imbalanced_stream_needs_classes_of_several_sizes(bench):
    with pytest.raises(UserError, match="IMAGES: 6 with RATIO 2 leaves classes of 1 images each"):
        get_study("imbalanced").answer(bench)


def test_all_images_give_the_accuracy_of_the_protocols_own_run(bench, tmp_path, monkeypatch):
    from promptshift.runs.run import main

    monkeypatch.setenv("IMAGES", "0")
    target = Target(bench)
    rows = target.choose()
    target.adapted(ENTROPY, rows[:3])  # nothing of it stays
    found = target.adapted(FULL, rows)
    assert main(list(target._job("PromptSync").moved(tmp_path / "run").argv)) == 0
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert len(rows) == 40 and float(found.right.mean()) == pytest.approx(record["metrics"]["accuracy"])
    lines = [json.loads(line) for line in (tmp_path / "run" / "stream.jsonl").read_text().splitlines()[1:]]
    assert found.predicted.tolist() == [lines[row]["top"][0] for row in rows]


@pytest.mark.parametrize("value", ["many", "-1", "1.5"])
def test_numbers_of_images_that_are_none_are_one_line(monkeypatch, value):
    monkeypatch.setenv("IMAGES", value)
    with pytest.raises(UserError, match=f"IMAGES: '{value}', allowed: whole numbers of at least 0"):
        whole("IMAGES", 200)
