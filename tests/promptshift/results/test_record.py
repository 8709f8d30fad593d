"""result.json: what is written comes back, and what does not fit the schema is refused by name."""

import json
import os
import subprocess

import pytest

from dassl.utils.errors import UserError
from helpers.result_records import make_record
from promptshift.results import record as record_module
from promptshift.results.record import environment_versions, git_hash, peak_memory_mb, read_result, write_result


def test_round_trip_keeps_every_digit(tmp_path):
    write_result(tmp_path, make_record())
    for place in (tmp_path, tmp_path / "result.json"):
        record = read_result(place)
        assert record["metrics"]["accuracy"] == 200 / 3
        assert record["schema_version"] == 1
    assert {key: record[key] for key in make_record()} == make_record()
    assert os.listdir(tmp_path) == ["result.json"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"selection": "best_test"}, "selection"),
        ({"classes": "novel"}, "classes"),
        ({"status": "running"}, "status"),
        ({"schema_version": 2}, "schema_version"),
        ({"seed": "1"}, "seed"),
        ({"seed": True}, "seed"),
        ({"source_domains": "photo"}, "source_domains"),
        ({"metrics": {"macro_f1": 1.0}}, "metrics.accuracy"),
        ({"metrics": {"accuracy": float("nan")}}, "metrics.accuracy"),
        ({"metrics": {"accuracy": 100.5}}, "metrics.accuracy"),
        ({"metrics": {"accuracy": 50.0, "per_class": [1]}}, "metrics.per_class"),
        ({"seconds": -1.0}, "seconds"),
        ({"expected": "92.8"}, "expected"),
        ({"acuracy": 1.0}, "acuracy"),
    ],
)
def test_bad_fields_are_named_and_nothing_is_written(tmp_path, changes, named):
    with pytest.raises(UserError, match=f"result.json.*'{named}'"):
        write_result(tmp_path, make_record(**changes))
    assert not list(tmp_path.iterdir())


def test_a_missing_field_is_named_with_the_file(tmp_path):
    write_result(tmp_path, make_record())
    path = tmp_path / "result.json"
    fields = json.loads(path.read_text())
    del fields["seed"]
    path.write_text(json.dumps(fields))
    with pytest.raises(UserError) as error:
        read_result(path)
    assert str(path) in str(error.value) and "'seed' is missing" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", '{"trainer": "Co', "[]", "null"])
def test_corrupt_files_are_one_line_naming_the_file(tmp_path, content):
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        read_result(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_absent_file_says_that_the_run_has_not_finished(tmp_path):
    with pytest.raises(UserError, match="has not finished"):
        read_result(tmp_path)


def test_versions_name_what_numbers_depend_on():
    import torch

    versions = environment_versions()
    assert set(versions) == {"python", "torch", "torchvision", "open_clip", "numpy", "promptshift"}
    assert torch.__version__.startswith(versions["torch"].split("+")[0])


def test_git_hash_marks_changed_files_and_is_none_outside_git(tmp_path, monkeypatch):
    monkeypatch.setattr(record_module, "checkout", lambda: tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_hash() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    clean = git_hash()
    assert len(clean) == 40
    (tmp_path / "file").write_text("two")
    assert git_hash() == f"{clean}-dirty"


def test_peak_memory_is_that_of_this_process_in_mebibytes():
    before = peak_memory_mb("cpu")
    block = bytearray(200 * 2**20)
    block[:: 2**12] = b"x" * len(block[:: 2**12])  # touch every page, or the system does not hand it out
    assert 10 < before < 100_000
    assert peak_memory_mb("cpu") >= 200
