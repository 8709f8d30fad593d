"""Collecting results: nothing is averaged away in silence."""

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


def test_a_folder_without_a_run_is_missing(tmp_path):
    assert inspect(tmp_path).kind == "missing"


def test_nothing_to_collect_is_an_error_naming_the_folder(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=str(folder)):
            collect([folder])
