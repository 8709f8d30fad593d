"""The report about a dataset on disk."""

import os
import shutil

import pytest
from PIL import Image

import datasets._check as check_module
from dassl.utils.errors import UserError
from datasets._check import check_dataset, format_report, known_datasets, prepare_dataset
from datasets._facts import DomainSet
from helpers.dataset_trees import build, make_pacs, write_images, write_split


@pytest.fixture
def toy(monkeypatch):
    """A dataset of two domains and two classes whose totals are small."""
    facts = DomainSet("Toy", ("toy",), {"one": 4, "two": 6}, "ot", 2, corrupt=("two/cat/bad.png",))
    monkeypatch.setattr(check_module, "find_facts", lambda name: facts)


def make_toy(root):
    for domain, count in (("one", 2), ("two", 3)):
        for name in ("cat", "dog"):
            write_images(root / "toy" / domain / name, count)


def test_complete_dataset_is_well(tmp_path, toy):
    make_toy(tmp_path)
    (tmp_path / "toy" / "two" / "cat" / "bad.png").write_bytes(b"")
    report = check_dataset("Toy", tmp_path, deep=True)
    text = format_report(report)
    assert report.ok and [entry.found for entry in report.domains] == [4, 6] and "all is well" in text
    assert report.domains[1].per_class == {"cat": 3, "dog": 3}
    assert "one: 4 images (expected 4); 2 of 2 classes, 2 to 2 images each" in text
    assert "no split files yet" in text and not (tmp_path / "toy" / "promptshift_splits").exists()


def test_every_kind_of_damage_is_reported(tmp_path, toy):
    make_toy(tmp_path)
    (tmp_path / "toy" / "one" / "cat" / "000.png").write_bytes(b"no image")
    shutil.rmtree(tmp_path / "toy" / "two" / "dog")
    (tmp_path / "toy" / "two" / "dog").mkdir()
    shutil.rmtree(tmp_path / "toy" / "two" / "cat")
    shallow, deep = check_dataset("Toy", tmp_path), check_dataset("Toy", tmp_path, deep=True)
    assert shallow.problems == [
        "two: 0 images, 6 expected",
        "two: 1 class folders, 2 expected",
        "two: no images of dog",
    ]
    assert set(deep.problems) - set(shallow.problems) == {
        f"one: unreadable image {tmp_path / 'toy' / 'one' / 'cat' / '000.png'}"
    }
    assert "without any data: bash scripts/dpspg/main.sh mini" in format_report(deep)


def test_deep_finds_what_only_decoding_shows(tmp_path, toy):
    """Cut off behind the header, PostScript, a pipe, a bomb: none of them is a readable image."""
    make_toy(tmp_path)
    folder = tmp_path / "toy" / "one" / "cat"
    Image.frombytes("RGB", (90, 90), bytes(range(90)) * 270).save(folder / "whole.jpg")
    data = (folder / "whole.jpg").read_bytes()
    (folder / "000.png").write_bytes(data[: len(data) * 2 // 3])
    (folder / "001.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n")
    os.mkfifo(folder / "pipe.png")
    report = check_dataset("Toy", tmp_path, deep=True)
    assert [p.rpartition("/")[2] for p in report.problems if "unreadable" in p] == ["000.png", "001.png", "pipe.png"]
    assert not any("unreadable" in problem for problem in check_dataset("Toy", tmp_path).problems)


def test_absent_dataset_lists_every_domain_and_what_to_do(tmp_path):
    report = check_dataset("pacs", tmp_path)
    assert report.problems == [f"{domain}: no folder" for domain in ("art_painting", "cartoon", "photo", "sketch")]
    text = format_report(report)
    assert str(tmp_path / "PACS") in text and "https://drive.google.com" in text and not list(tmp_path.iterdir())


def test_split_file_is_counted_and_checked(tmp_path):
    folder = make_pacs(tmp_path)
    build(tmp_path, "PACS", (), ("p",))
    entry = check_dataset("PACS", tmp_path).domains[2]
    assert (len(entry.split.train), len(entry.split.val)) == (21, 9)
    write_split(folder / "spg_coop_splits", "p", [["photo/dog/gone.png", 0, 2, "dog"]], [])
    assert any("photo/dog/gone.png" in problem for problem in check_dataset("PACS", tmp_path).problems)


def test_known_datasets_can_all_be_checked(tmp_path):
    assert len(known_datasets()) == 9 + 19
    for name in known_datasets():
        assert not check_dataset(name, tmp_path).ok


def test_preparing_renders_and_splits_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets._obtain.MINI_PER_CLASS", 2)
    prepare_dataset("mini2", tmp_path)
    report = check_dataset("mini2", tmp_path)
    assert [entry.found for entry in report.domains] == [12] * 3 and all(entry.split for entry in report.domains)


def test_an_own_folder_may_lack_a_class_but_no_image_may_be_unreadable(tmp_path):
    for domain, names in (("day", ("cat", "dog")), ("night", ("cat",))):
        for name in names:
            write_images(tmp_path / "mine" / domain / name, 3)
    report = check_dataset("FolderDG", tmp_path, deep=True, folder="mine")
    text = format_report(report)
    assert report.ok and "day: 6 images (expected unknown)" in text and "night: 1 class folders, 2 expected" in text
    (tmp_path / "mine" / "day" / "cat" / "000.png").write_bytes(b"no image")
    report = check_dataset("FolderDG", tmp_path, deep=True, folder="mine")
    assert [problem.split()[1] for problem in report.problems] == ["unreadable"]


def test_unknown_dataset_is_an_error(tmp_path):
    with pytest.raises(UserError, match="unknown dataset 'nope'"):
        check_dataset("nope", tmp_path)


def test_mini_world_below_its_usual_size_is_reported(mini_root):
    report = check_dataset("mini", mini_root)
    assert [entry.found for entry in report.domains] == [240] * 4
    assert report.problems[0] == "art_painting: 240 images, 1,200 expected"
