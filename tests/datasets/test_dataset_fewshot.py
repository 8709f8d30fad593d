"""Few-shot sets: upstream's draws, the JSON cache, and upstream's pickles."""

import json
import pickle
import random
from pathlib import Path

import pytest

import datasets._fewshot as fewshot_module
from dassl.data.datasets import DatasetBase, Datum
from dassl.utils.errors import UserError
from datasets._fewshot import fewshot_sets
from helpers.dataset_trees import build, make_pacs, paths

GOLDEN = json.loads((Path(__file__).parents[1] / "goldens" / "sampling.json").read_text())
COUNTS = [30, 5, 12, 40, 16, 17, 3, 25, 31, 22]


def golden_sets(base: Path) -> tuple[list[Datum], list[Datum]]:
    return tuple(
        [
            Datum(f"{base}/c{label:02}/{index:03}.jpg", label, 0, f"c{label:02}")
            for label, count in enumerate(counts)
            for index in range(count)
        ]
        for counts in (COUNTS, [8] * 10)
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("shots", [1, 2, 4, 8, 16])
def test_draws_are_upstreams_and_cached_ones_are_the_same(tmp_path, seed, shots):
    train, val = golden_sets(tmp_path)
    random.seed(99)  # what was drawn before does not matter
    for _ in range(2):
        drawn = fewshot_sets(DatasetBase(train_x=train), train, val, shots, seed, tmp_path / "split_fewshot", tmp_path)
        names = [[str(Path(path).relative_to(tmp_path)) for path in paths(part)] for part in drawn]
        expected = GOLDEN["fewshot"][f"seed{seed}_shots{shots}"]
        assert names == [expected["train"], expected["val"]]
    assert (tmp_path / "split_fewshot" / f"shot_{shots}-seed_{seed}.json").is_file()


def test_random_state_is_the_same_with_and_without_a_cache(tmp_path):
    make_pacs(tmp_path)
    states = []
    for _ in range(2):
        random.seed(7)
        build(tmp_path, "PACS", (), ("p",), NUM_SHOTS=2)
        states.append(random.getstate())
    assert states[0] == states[1]


def test_shots_are_per_class_with_domains_pooled(tmp_path):
    folder = make_pacs(tmp_path, count=20)
    data = build(tmp_path, "PACS", ("a", "c", "s"), ("p",), NUM_SHOTS=5)
    assert [sum(item.label == label for item in data.train_x) for label in range(3)] == [5, 5, 5]
    assert [sum(item.label == label for item in data.val) for label in range(3)] == [4, 4, 4]
    assert len(data.test) == 60
    cache = json.loads((folder / "split_fewshot" / "PACS-acs" / "shot_5-seed_1.json").read_text())
    assert len(cache["train"]) == 15 and len(cache["val"]) == 12
    other = build(tmp_path, "PACS", ("a",), ("p",), NUM_SHOTS=5)
    assert {item.domain for item in other.train_x} == {0}


def test_class_halves_are_taken_after_sampling(tmp_path):
    make_pacs(tmp_path, ("a", "b", "c"))
    every = build(tmp_path, "PACS", (), ("p",), NUM_SHOTS=2)
    new = build(tmp_path, "PACS", (), ("p",), NUM_SHOTS=2, SUBSAMPLE_CLASSES="new")
    assert paths(new.train_x) == [item.impath for item in every.train_x if item.label == 2]


def test_upstreams_pickle_is_read_and_rewritten_as_json(tmp_path):
    train, val = golden_sets(Path("/other/machine"))
    folder = tmp_path / "split_fewshot"
    folder.mkdir()
    (folder / "shot_1-seed_1.pkl").write_bytes(pickle.dumps({"train": train[3:5], "val": val[:1]}))
    here = golden_sets(tmp_path)
    for _ in range(2):
        drawn = fewshot_sets(DatasetBase(train_x=here[0]), *here, 1, 1, folder, tmp_path)
        assert [paths(part) for part in drawn] == [paths(here[0][3:5]), paths(here[1][:1])]
        (folder / "shot_1-seed_1.pkl").unlink(missing_ok=True)


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("evil"),)


def test_pickle_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shot_1-seed_1.pkl").write_bytes(pickle.dumps({"train": [Evil()], "val": []}))
    sets = golden_sets(tmp_path)
    with pytest.raises(UserError, match="shot_1-seed_1.pkl"):
        fewshot_sets(DatasetBase(train_x=sets[0]), *sets, 1, 1, tmp_path, tmp_path)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "not valid JSON"),
        ('{"train": []}', "not a few-shot file"),
        (
            '{"train": [["c00/nope.jpg", 0, 0, "c00"]], "val": []}',
            "names c00/nope.jpg, which is not in the current split",
        ),
    ],
)
def test_bad_cache_is_named(tmp_path, text, words):
    (tmp_path / "shot_1-seed_1.json").write_text(text)
    sets = golden_sets(tmp_path)
    with pytest.raises(UserError, match=words) as error:
        fewshot_sets(DatasetBase(train_x=sets[0]), *sets, 1, 1, tmp_path, tmp_path)
    assert "shot_1-seed_1.json" in str(error.value)


def test_read_only_folder_keeps_the_draw_in_memory(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(fewshot_module, "write_json", refuse)
    make_pacs(tmp_path)
    assert len(build(tmp_path, "PACS", (), ("p",), NUM_SHOTS=1).train_x) == 3
    assert "Few-shot data kept in memory" in capsys.readouterr().out
