"""The data of a run, then and now: what makes them other data, and what does not."""

import os
import shutil

import pytest

from dassl.data.datasets.base_dataset import DataFiles
from promptshift.results import data_state
from promptshift.results.data_state import data_problem, state_of, write_state


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder with one data set: two classes, a split file, and room for a published one."""
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(data_state, "_recent", {})
    root = tmp_path / "data"
    for name in ("cat", "dog"):
        (root / "set" / name).mkdir(parents=True)
        for index in range(3):
            (root / "set" / name / f"{index}.jpg").write_bytes(bytes([index] * 9))
    (root / "set" / "split.json").write_text("{}")
    return root


@pytest.fixture
def run(data, tmp_path):
    """A run of these data."""
    (tmp_path / "run").mkdir()
    write_state(tmp_path / "run", state_of(files_in(data), data))
    return tmp_path / "run"


def files_in(root):
    top = root / "set"
    return DataFiles((str(top),), (str(top / "split.json"), str(top / "published.json")), ("splits",))


def now(run, root=""):
    data_state._recent.clear()  # as in a later process
    return data_problem(run, root)


def test_what_nobody_changed_is_the_same(run, data):
    assert now(run) == "" and now(run, data) == ""


def test_copies_touched_files_and_what_is_no_image_change_nothing(run, data, tmp_path):
    for path in (data / "set").rglob("*"):
        os.utime(path, (1, 1))
    (data / "set" / "notes.txt").write_text("mine")
    (data / "set" / "splits").mkdir()
    (data / "set" / "splits" / "thumbnail.jpg").write_bytes(b"1")
    assert now(run) == ""
    shutil.copytree(data, tmp_path / "copy", copy_function=shutil.copyfile)
    assert now(run, tmp_path / "copy") == ""
    (tmp_path / "copy" / "set" / "cat" / "9.jpg").write_bytes(b"1")
    assert "set/cat has 4 images, not 3" in now(run, tmp_path / "copy") and now(run, data) == ""


def change(top, what):
    """Changes the data; returns the words that say so."""
    if what == "another image":
        (top / "cat" / "9.jpg").write_bytes(b"1")
        return "set/cat has 4 images, not 3"
    if what == "one image less":
        (top / "dog" / "1.jpg").unlink()
        return "set/dog has 2 images, not 3"
    if what == "an image of the same size and time":
        stat = (top / "dog" / "1.jpg").stat()
        (top / "dog" / "1.jpg").write_bytes(b"7" * 9)
        os.utime(top / "dog" / "1.jpg", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        return "images of set/dog changed"
    if what == "another name":
        (top / "dog" / "1.jpg").rename(top / "dog" / "one.jpg")
        return "images of set/dog changed"
    if what == "a class":
        (top / "zebra").mkdir()
        (top / "zebra" / "0.jpg").write_bytes(b"1")
        return "set/zebra is new (1 images)"
    if what == "a class without images":
        (top / "zebra").mkdir()
        return "set/zebra is new (0 images)"
    if what == "one class less":
        shutil.rmtree(top / "dog")
        return "set/dog is gone (3 images)"
    if what == "split":
        (top / "split.json").write_text("{ }")
        return "set/split.json changed"
    if what == "no split":
        (top / "split.json").unlink()
        return "set/split.json is gone"
    (top / "published.json").write_text("{}")
    return "set/published.json is new"


@pytest.mark.parametrize(
    "what",
    ["another image", "one image less", "an image of the same size and time", "another name", "a class"]
    + ["a class without images", "one class less", "split", "no split", "published split"],
)
def test_every_change_is_named(run, data, what):
    said = change(data / "set", what)
    assert said in now(run)
    assert said in now(run), "and again when nothing is read anew"


def test_data_that_are_not_here_are_compared_with_nothing(run, data):
    shutil.rmtree(data)
    assert now(run) == ""


def test_a_run_without_data_file_or_with_a_broken_one_has_nothing_to_compare(run):
    (run / "data.json").write_text("[1]")
    assert now(run) == ""
    (run / "data.json").unlink()
    assert now(run) == ""


def test_a_test_of_weights_is_stale_with_the_run_that_made_them(run, data, tmp_path):
    tested = tmp_path / "tested"
    tested.mkdir()
    write_state(tested, state_of(DataFiles((str(data / "set" / "cat"),)), data), run)
    assert now(tested) == ""
    change(data / "set", "a class")
    assert "made with the weights of" in now(tested) and "set/zebra is new" in now(tested)


def test_large_sets_go_by_size_and_time(run, data, tmp_path, monkeypatch):
    monkeypatch.setattr(data_state, "AFFORDABLE", 10)
    monkeypatch.setattr(data_state, "_digest_of", lambda path: pytest.fail("no image may be read"))
    data_state._recent.clear()
    large = tmp_path / "large"
    large.mkdir()
    files = DataFiles((str(data / "set"),))
    write_state(large, state_of(files, data))
    assert now(large) == ""
    change(data / "set", "another image")
    assert "set/cat has 4 images, not 3" in now(large)


def test_contents_are_read_once(run, data, monkeypatch):
    def read(path):
        pytest.fail(f"{path} is read again")

    monkeypatch.setattr(data_state, "_digest_of", read)
    assert now(run) == ""


def test_a_damaged_memory_is_made_anew(run, data, tmp_path):
    for path in (tmp_path / "output" / "data_digests").iterdir():
        path.write_text("[")
    assert now(run) == ""
