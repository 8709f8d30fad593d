"""What studies make of their numbers: against numpy and scipy, and as the numbers say."""

import json

import numpy as np
import pytest
import torch
from scipy import stats

from dassl.utils.errors import UserError
from promptshift.results.tables import Measured, Table
from promptshift.studies.checks.dual_path import ALPHAS, Scores, alpha_outcome, class_points, constraint_outcome
from promptshift.studies.checks.few_shot import few_shot_outcome
from promptshift.studies.checks.generated import seed_spread, stability_outcome, variability_outcome
from promptshift.studies.checks.granularity import Grain, agreement, granularity_outcome
from promptshift.studies.checks.inspection import worst
from promptshift.studies.checks.latent import NUMBERS, _share, correlation_outcome, number_outcome
from promptshift.studies.checks.trade_off import WEIGHTS, trade_off_outcome
from promptshift.studies.maps import MOST, chosen_rows, planar_map
from promptshift.studies.outcome import Outcome, read_outcome
from promptshift.studies.registry import get_study, studies
from promptshift.studies.words import compared, correlated


def scores(seed, n=60, k=4):
    """Random cosines; the negative score points at the true class half of the time."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % k
    positive = torch.randn(n, k, generator=generator)
    negative = torch.randn(n, k, generator=generator)
    return Scores(positive, negative, labels, 0.2, [f"class {i}" for i in range(k)])


SCORES = {(domain, seed): scores(10 * i + seed) for i, domain in enumerate(("art", "photo")) for seed in (1, 2)}


def test_alpha_sweep_is_the_accuracy_of_the_difference():
    outcome = alpha_outcome("x", SCORES)
    for row, alpha in zip(outcome.table.rows, ALPHAS):
        accuracies = [
            [
                100 * float((s.positive - alpha * s.negative).argmax(1).eq(s.labels).double().mean())
                for s in (SCORES[domain, 1], SCORES[domain, 2])
            ]
            for domain in ("art", "photo")
        ]
        assert row[1].mean == pytest.approx(np.mean(accuracies[0]))
        assert row[1].std == pytest.approx(np.std(accuracies[0]))
        average = np.mean(accuracies, axis=0)
        assert (row[3].mean, row[3].std) == (pytest.approx(average.mean()), pytest.approx(average.std()))
    best = max(range(len(ALPHAS)), key=lambda i: outcome.table.rows[i][3].mean)
    assert f"highest average is at alpha = {ALPHAS[best]:g} " in outcome.verdict


def test_the_negative_constraint_follows_delta_and_gain():
    own = SCORES["art", 1]
    labels, negative = own.labels.numpy(), own.negative.double().numpy()
    others = np.where(np.eye(4, dtype=bool)[labels], np.inf, negative)
    delta = others.min(1) - negative[np.arange(60), labels]
    gain = own.right(0.2).numpy().astype(float) - own.right(0.0).numpy().astype(float)
    for k, (_, found_delta, found_gain) in enumerate(class_points([own])):
        assert found_delta == pytest.approx(delta[labels == k].mean())
        assert found_gain == pytest.approx(100 * gain[labels == k].mean())
    outcome = constraint_outcome("x", {("art", 1): own})
    assert f"holds for {100 * (delta >= 0).mean():.1f} %" in outcome.verdict
    x, y = zip(*((d, g) for _, d, g in class_points([own])))
    assert f"{stats.spearmanr(x, y).statistic:+.2f} over 4 points" in outcome.verdict


def test_verdicts_go_with_the_numbers():
    low = {("a", seed): 50.0 + 0.1 * seed for seed in range(6)}
    high = {key: value + 3 + 0.05 * key[1] for key, value in low.items()}
    noisy = {key: value + (-1) ** key[1] for key, value in low.items()}
    assert "higher beyond the spread" in compared("a", high, "b", low)
    assert "lower beyond the spread" in compared("a", low, "b", high)
    assert "do not tell them apart" in compared("a", noisy, "b", low)
    assert "one pair has no uncertainty" in compared("a", {"k": 1.0}, "b", {"k": 2.0})
    assert "no pair in common" in compared("a", {"k": 1.0}, "b", {"l": 2.0})


def test_correlations_are_scipys_and_few_points_have_none():
    x, y = [1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0]
    text, line = correlated("it", x, y)
    assert f"{stats.spearmanr(x, y).statistic:+.2f}" in text and "not distinguishable from 0" in text
    fit = stats.linregress(x, y)
    assert (line["slope"], line["intercept"]) == (pytest.approx(fit.slope), pytest.approx(fit.intercept))
    assert correlated("it", [1.0, 1.0, 1.0], [1.0, 2.0, 3.0])[1] is None


def test_stability_takes_the_last_ten_epochs():
    rising, flat = [float(i) for i in range(30)], [50.0] * 30
    histories = {
        "SPG": {("a", 1): [{"epoch": i, "val_accuracy": v} for i, v in enumerate(rising)]},
        "DPSPG": {("a", 1): [{"epoch": i, "val_accuracy": v} for i, v in enumerate(flat)]},
    }
    outcome = stability_outcome("x", histories)
    cells = {row[0]: row[1].mean for row in outcome.table.rows}
    assert cells == {"SPG": pytest.approx(np.std(rising[-10:])), "DPSPG": 0.0}


def test_spread_over_seeds_separates_what_all_images_share():
    torch.manual_seed(0)
    base = torch.randn(50, 2, 8)
    shifted = seed_spread([base, base + 1.0])
    assert shifted["distance"] == pytest.approx(shifted["common"])
    assert seed_spread([base, base])["distance"] == 0
    noise = seed_spread([base, base + 0.5 * torch.randn(50, 2, 8)])
    assert noise["common"] < 0.3 * noise["distance"]
    outcome = variability_outcome("x", {"SPG": {"a": noise, "b": noise}, "DPSPG": {"a": shifted, "b": shifted}})
    assert outcome.table.rows[0][1].mean == pytest.approx(noise["distance"]) and "held-out domains" in outcome.verdict


def test_the_oracle_gap_is_oracle_less_accuracy():
    def record(accuracy, oracle):
        return {
            "metrics": {"accuracy": accuracy},
            "diagnostics": {"fusion": {"u_sel": oracle}, "latent_domains": {"purity": 0.5}},
        }

    records = {n: {("a", 1): record(70.0, 71.0 + n), ("b", 1): record(80.0, 81.0 + n)} for n in (2, 3, 4, 5, 6)}
    outcome = number_outcome("x", records)
    assert [row[3].mean for row in outcome.table.rows] == [3.0, 4.0, 5.0, 6.0, 7.0]
    assert "N_S = 3: 4.00 points" in outcome.verdict and "‡" in outcome.table.header[2]


def test_finer_latent_domains_split_the_annotated_ones_and_coarser_ones_merge_them():
    domains, labels = torch.arange(3).repeat_interleave(8), torch.arange(4).repeat(6)
    halves = torch.arange(24) % 8 // 4
    finer, same, coarser = (
        agreement(50.0, domains, labels, clusters)
        for clusters in (2 * domains + halves, (domains + 1) % 3, domains.clamp(max=1))
    )
    assert (same.homogeneity, same.completeness, same.by_class) == (1.0, 1.0, pytest.approx(0, abs=1e-9))
    assert (finer.homogeneity, finer.completeness) == pytest.approx((1, np.log(3) / np.log(6)))
    assert coarser.completeness == pytest.approx(1) and coarser.homogeneity == pytest.approx(
        (np.log(3) - 2 / 3 * np.log(2)) / np.log(3)
    )
    assert agreement(50.0, domains, labels, labels).by_class == pytest.approx(1.0)


def test_granularity_is_compared_with_the_annotated_domains():
    manual = {("a", 1): 60.0, ("a", 2): 62.0}
    grains = {n: {key: Grain(value + n - 2, n / 6, 2 / n, 0.1) for key, value in manual.items()} for n in NUMBERS}
    outcome = granularity_outcome("x", 3, manual, grains)
    assert [row[2] for row in outcome.table.rows] == ["", "+0.00", "+1.00", "+2.00", "+3.00", "+4.00"]
    assert outcome.table.rows[2][1].mean == 62.0 and outcome.table.rows[2][1].std == 1.0
    assert "N_S = 3 against the annotated domains: +1.00 points" in outcome.verdict
    assert "N_S = 6 against the annotated domains: +4.00 points" in outcome.verdict
    assert "homogeneity goes from 0.33 to 1.00" in outcome.verdict


def test_few_shot_curves_say_from_where_on_coop_wins():
    accuracy = {
        "ZeroshotCLIP": {0: {1: 70.0, 2: 70.0}},
        "LinearProbe": {k: {1: 60.0 + k, 2: 62.0 + k} for k in (1, 16)},
        "CoOp": {1: {1: 69.0, 2: 73.0}, 16: {1: 80.0, 2: 81.0}},
    }
    outcome = few_shot_outcome("x", accuracy)
    assert "above zero-shot CLIP (70.00 %) with every seed at 16 images" in outcome.verdict
    assert "CoOp with 16 against zero-shot CLIP: +10.50 points over 2 seeds" in outcome.verdict
    assert "against the linear probe with 16: +3.50 points" in outcome.verdict
    assert outcome.table.header == ("accuracy (%)", "0", "1", "16")
    assert outcome.table.rows[0][1:] == (Measured(70.0, 0.0), None, None)
    assert [series["x"] for series in outcome.panels[0]["series"]] == [[0], [1, 16], [1, 16]] and outcome.draw()


def test_a_folder_of_shared_images_holds_no_links(tmp_path):
    """A dataset refuses links that lead out of it."""
    (tmp_path / "a.png").write_bytes(b"image")
    for _ in range(2):
        _share([tmp_path / "a.png"], tmp_path / "domain" / "class")
    shared = tmp_path / "domain" / "class" / "a.png"
    assert shared.read_bytes() == b"image" and not shared.is_symlink()


def test_correlated_images_are_compared_within_each_set():
    accuracy = {
        which: {"with": {("a", s): 60.0 + s for s in (1, 2)}, "without": {("a", s): 61.0 + s for s in (1, 2)}}
        for which in ("as it is", "correlated")
    }
    outcome = correlation_outcome("x", accuracy)
    assert outcome.verdict.count("-1.00 points over 2 pairs") == 2 and outcome.table.rows[0][1].mean == 61.5


def test_the_trade_off_has_h_of_either_rule():
    sweep = {
        "Base": {w: {("d", 1): 80.0 + 10 * w} for w in WEIGHTS},
        "New": {w: {("d", 1): 75.0 - 20 * w} for w in WEIGHTS},
    }
    outcome = trade_off_outcome("x", sweep)
    last = outcome.table.rows[-1]
    assert last[3].mean == pytest.approx(stats.hmean([90, 55])) and last[4].mean == pytest.approx(stats.hmean([90, 75]))
    assert "highest at w_b = 1:" in outcome.verdict


def test_largest_confusions_come_first_and_zeros_not_at_all():
    assert worst(torch.tensor([[9, 2, 0], [5, 9, 0], [0, 0, 9]])) == [(1, 0), (0, 1)]


def test_an_outcome_comes_back_as_it_was_and_its_picture_is_repeatable(tmp_path):
    series = [{"label": "a", "x": [0, 1], "y": [1.0, 2.0], "spread": [0.1, 0.2]}]
    panel = {"xlabel": "x", "ylabel": "y", "series": series}
    table = Table(("n", "value"), (("a", Measured(1.0, 0.5)), ("b", None)), "caption", ("note",))
    outcome = Outcome("n", "t", "c", "v", "alt", "lines", (panel,), table, ("hint",))
    paths = outcome.write(tmp_path)
    first = (tmp_path / "figures" / "n.svg").read_bytes()
    assert read_outcome(paths[0]) == outcome
    read_outcome(paths[0]).write(tmp_path)
    assert (tmp_path / "figures" / "n.svg").read_bytes() == first
    assert {path.suffix for path in paths} == {".json", ".svg", ".md", ".csv", ".tex"}


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 2}', '{"schema": 1, "table": null, "surprise": 1}'])
def test_files_that_are_no_outcome_are_one_line(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UserError, match="x.json is no outcome") as error:
        read_outcome(path)
    assert "\n" not in str(error.value)


def test_epochs_are_whole_numbers_on_the_axis():
    epochs = list(range(1, 21))
    panel = {"xlabel": "epoch", "series": [{"label": "a", "x": epochs, "y": [50.0] * 20}]}
    (ax,) = Outcome("x", "x", "x", kind="lines", panels=(panel,)).draw().axes
    assert all(float(tick).is_integer() for tick in ax.get_xticks())


def test_every_study_has_a_line_and_a_wrong_name_gets_a_hint():
    assert {"alpha", "n_s", "stability", "trade_off", "words", "confusion"} <= set(studies())
    assert all(study.about for study in studies().values())
    with pytest.raises(UserError, match="did you mean.*alpha"):
        get_study("alhpa")


def test_numbers_written_are_plain_json(tmp_path):
    for outcome in (alpha_outcome("x", SCORES), constraint_outcome("x", SCORES)):
        path = outcome.write(tmp_path)[0]
        assert json.loads(path.read_text())["panels"] and read_outcome(path).draw()


def test_maps_choose_by_group_and_keep_places_whatever_the_colour():
    points, groups = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)), ["a"] * 30 + ["b"] * 10
    plain, coloured = planar_map(points, groups, 1), planar_map(points, groups, 1, ["c", "d"] * 20)
    places = [sorted(x for group in panel["groups"] for x in group["x"]) for panel in (plain, coloured)]
    assert places[0] == places[1] and [len(group["x"]) for group in plain["groups"]] == [30, 10]
    assert [group["label"] for group in coloured["groups"]] == ["c", "d"]
    assert len(chosen_rows(["a"] * (MOST + 50) + ["b"], 0)) == MOST + 1
