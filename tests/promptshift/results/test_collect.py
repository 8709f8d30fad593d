"""Collecting results: nothing is averaged away in silence."""

import json
import os

import pytest

from dassl.utils.errors import UserError
from helpers.result_records import make_record
from promptshift.results.collect import collect, inspect
from promptshift.results.record import write_result


def test_every_kind_of_run_folder_is_reported(tmp_path):
    write_result(tmp_path / "a" / "seed1", make_record(seed=1))
    for name in ("seed2", "seed3"):
        (tmp_path / "a" / name).mkdir()
    (tmp_path / "a" / "seed2" / "log.txt").write_text("epoch 1")
    (tmp_path / "a" / "seed3" / "result.json").write_text('{"half')
    (tmp_path / "b" / "notes").mkdir(parents=True)
    found = collect([tmp_path])
    assert [(run.folder.name, run.kind) for run in found] == [
        ("seed1", "complete"),
        ("seed2", "partial"),
        ("seed3", "corrupt"),
    ]
    assert found[0].record["seed"] == 1 and found[0].problem == ""
    for run in found[1:]:
        assert run.record is None and str(run.folder / "result.json") in run.problem


UNREADABLE = {
    "deep": "[" * 200_000,
    "deep object": '{"a":' * 200_000,
    "huge integer": '{"metrics": {"accuracy": 1' + "0" * 400 + "}}",
    "longest integer": "1" * 100_000,
    "huge float": '{"metrics": {"accuracy": 1e999}}',
    "number": "3",
    "bytes": b"\xff\xfe\x00",
    "empty": "",
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_one_unreadable_result_is_named_and_the_others_count(tmp_path, content):
    write_result(tmp_path / "good", make_record())
    (tmp_path / "bad").mkdir()
    path = tmp_path / "bad" / "result.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    bad, good = collect([tmp_path])
    assert good.kind == "complete" and bad.kind == "corrupt" and str(path) in bad.problem
    assert "\n" not in bad.problem and len(bad.problem) < 500


def test_a_pipe_is_no_result(tmp_path):
    os.mkfifo(tmp_path / "result.json")
    assert inspect(tmp_path).kind == "corrupt"


WRONG = [
    {"metrics": {"accuracy": float("nan")}},
    {"metrics": {"accuracy": 10**400}},
    {"metrics": {"accuracy": 1, "x" * 100_000: None}},
    {"history": [3]},
    {"history": [{"epoch": "one"}]},
    {"history": [{"val_accuracy": 3.0}]},
    {"history": [{"epoch": 1, "val_accuracy": float("inf")}]},
    {"expected": float("nan")},
    {"source_domains": [[]]},
    {"trainer": ["x" * 100_000]},
]


@pytest.mark.parametrize("changes", WRONG, ids=range(len(WRONG)))
def test_values_of_the_wrong_kind_are_quoted_shortened(tmp_path, changes):
    (tmp_path / "result.json").write_text(json.dumps({"schema_version": 1, **make_record(**changes)}))
    found = inspect(tmp_path)
    assert found.kind == "corrupt" and str(tmp_path / "result.json") in found.problem
    assert "\n" not in found.problem and len(found.problem) < 500


def test_a_folder_without_a_run_is_missing(tmp_path):
    assert inspect(tmp_path).kind == "missing"


def test_nothing_to_collect_is_an_error_naming_the_folder(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=str(folder)):
            collect([folder])
