"""Split rules per layout, published split files, our own ones, and what is said when they do not fit."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest

import datasets._splits as splits_module
from dassl.utils.errors import UserError
from datasets._facts import RULE_70_30
from datasets._splits import split_bounds
from datasets.domain_sets import domain_sets
from helpers.dataset_trees import build, make_pacs, paths, write_images, write_split


def own_split(folder: Path, code: str, variant: str = "") -> dict:
    return json.loads((folder / "promptshift_splits" / variant / f"{code}_train_val_split.json").read_text())


def test_own_split_is_written_once_and_is_independent_of_seeds(tmp_path, capsys):
    folder = make_pacs(tmp_path)
    random.seed(5)
    first = build(tmp_path, "PACS", (), ("p",))
    path = folder / "promptshift_splits" / "a_train_val_split.json"
    assert f"Split of PACS/art_painting: {path} (train 21, val 9)" in capsys.readouterr().out
    before = path.read_bytes()
    second = build(tmp_path, "PACS", (), ("p",))
    assert paths(first.train_x) == paths(second.train_x) and path.read_bytes() == before
    shutil.rmtree(path.parent)
    random.seed(6)
    assert paths(build(tmp_path, "PACS", (), ("p",)).train_x) == paths(first.train_x)


def test_own_split_has_upstreams_format(tmp_path):
    folder = make_pacs(tmp_path)
    build(tmp_path, "PACS", (), ("p",))
    split = own_split(folder, "s")
    assert set(split) == {"train", "val", "test"} and split["val"] == split["test"]
    relpath, label, domain, classname = split["train"][0]
    assert (label, domain, classname) == (0, 3, "dog") and (folder / "images" / relpath).is_file()
    assert relpath.startswith("sketch/dog/")


@pytest.mark.parametrize("count, train", [(1, 1), (2, 1), (3, 2), (10, 7), (15, 10), (285, 200)])
def test_seventy_thirty_rounds_per_class(tmp_path, count, train):
    write_images(tmp_path / "PACS" / "images" / "photo" / "dog", count)
    data = build(tmp_path, "PACS_CoOp", ("p",), ("p",))
    assert (len(data.train_x), len(data.val)) == (train, count - train)


@pytest.mark.parametrize(
    "domain, per_class, published",
    [
        ("art_painting", (379, 255, 285, 184, 201, 295, 449), (1433, 615)),
        ("cartoon", (389, 457, 346, 135, 324, 288, 405), (1641, 703)),
        ("photo", (189, 202, 182, 186, 199, 280, 432), (1167, 503)),
        ("sketch", (772, 740, 753, 608, 816, 80, 160), (2750, 1179)),
    ],
)
def test_seventy_thirty_of_pacs_has_the_published_sizes(domain, per_class, published):
    assert sum(per_class) == domain_sets["PACS"].totals[domain] == sum(published)
    assert sum(split_bounds(RULE_70_30, count)[0] for count in per_class) == published[0]


def test_corrupt_pacs_image_is_skipped_and_named(tmp_path, capsys):
    folder = make_pacs(tmp_path)
    (folder / "images/sketch/dog/n02103406_4068-1.png").write_bytes(b"")
    data = build(tmp_path, "PACS", (), ("s",))
    assert len(data.test) == 30 and "Skipping sketch/dog/n02103406_4068-1.png" in capsys.readouterr().out


def test_corrupt_image_of_a_published_split_is_skipped(tmp_path):
    folder = make_pacs(tmp_path, ("dog",), 3)
    write_split(
        folder / "spg_coop_splits",
        "s",
        [["sketch/dog/000.png", 0, 3, "dog"], ["sketch/dog/n02103406_4068-1.png", 0, 3, "dog"]],
        [["sketch/dog/001.png", 0, 3, "dog"]],
    )
    assert len(build(tmp_path, "PACS_CoOp", ("s",), ("s",)).train_x) == 1


@pytest.mark.parametrize("where", ["spg_coop_splits", "dpspg_coop_splits", "spg_coop_splits/PACS"])
def test_published_split_wins_over_our_own(tmp_path, where, capsys):
    folder = make_pacs(tmp_path, ("dog",))
    build(tmp_path, "PACS_CoOp", ("p",), ("p",))
    path = write_split(
        folder / where,
        "p",
        [["photo/dog/009.png", 0, 2, "dog"]],
        [["photo/dog/003.png", 0, 2, "dog"], ["photo/dog/004.png", 0, 2, "dog"]],
    )
    data = build(tmp_path, "PACS_CoOp", ("p",), ("p",))
    assert [Path(item).name for item in paths(data.train_x)] == ["009.png"] and len(data.val) == 2
    assert f"Split of PACS/photo: {path} (train 1, val 2)" in capsys.readouterr().out


@pytest.mark.parametrize("prefix", ["", "images/", "PACS\\images\\", "/elsewhere/data/PACS/images/"])
def test_paths_of_split_files_are_read_from_the_domain_on(tmp_path, prefix):
    folder = make_pacs(tmp_path, ("dog",))
    write_split(
        folder / "spg_coop_splits",
        "p",
        [[f"{prefix}photo/dog/009.png", 0, 2, "dog"]],
        [["photo/dog/001.png", 0, 2, "dog"]],
    )
    data = build(tmp_path, "PACS_CoOp", ("p",), ("p",))
    assert paths(data.train_x) == [str(folder / "images/photo/dog/009.png")]


def test_split_naming_missing_images_says_which_and_how_many(tmp_path):
    folder = make_pacs(tmp_path, ("dog",))
    path = write_split(
        folder / "spg_coop_splits",
        "p",
        [["photo/dog/000.png", 0, 2, "dog"], ["photo/dog/x.png", 0, 2, "dog"]],
        [["photo/cat/y.png", 0, 2, "dog"]],
    )
    with pytest.raises(UserError) as error:
        build(tmp_path, "PACS_CoOp", ("p",), ("p",))
    assert str(path) in str(error.value) and "2 of 3 images" in str(error.value)
    assert "photo/dog/x.png" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "not valid JSON"),
        ('{"train": []}', "not a split file"),
        ("[]", "not a split file"),
        ('{"train": [["photo/dog/000.png", 0]], "val": []}', "is not \\[path below a folder 'photo'"),
        ('{"train": [["cartoon/dog/000.png", 0, 2, "dog"]], "val": []}', "is not \\[path below a folder 'photo'"),
        ('{"train": [["photo/dog/000.png", 0, 1, "dog"]], "val": []}', "has domain index 1; photo of PACS is 2"),
    ],
)
def test_malformed_split_file_is_named(tmp_path, text, words):
    folder = make_pacs(tmp_path, ("dog",))
    path = write_split(folder / "spg_coop_splits", "p", [], [])
    path.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        build(tmp_path, "PACS_CoOp", ("p",), ("p",))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_splits_that_disagree_about_a_label_are_refused(tmp_path):
    folder = make_pacs(tmp_path, ("dog", "horse"))
    write_split(
        folder / "spg_coop_splits", "p", [["photo/dog/000.png", 1, 2, "dog"]], [["photo/horse/000.png", 0, 2, "horse"]]
    )
    with pytest.raises(UserError, match="PACS: label . is .* in one split and .* in .*spg_coop_splits"):
        build(tmp_path, "PACS", (), ("p",))


def test_labels_of_published_splits_win_over_folder_order(tmp_path):
    folder = make_pacs(tmp_path, ("dog", "horse"))
    for code, domain, index in (("p", "photo", 2), ("a", "art_painting", 0)):
        write_split(
            folder / "spg_coop_splits",
            code,
            [[f"{domain}/dog/000.png", 1, index, "dog"]],
            [[f"{domain}/horse/000.png", 0, index, "horse"]],
        )
    assert build(tmp_path, "PACS", ("a",), ("p",)).classnames == ["horse", "dog"]


def test_images_that_our_split_does_not_name_are_counted(tmp_path, capsys):
    folder = make_pacs(tmp_path, ("dog",), 4)
    build(tmp_path, "PACS_CoOp", ("p",), ("p",))
    assert "are not in" not in capsys.readouterr().out
    write_images(folder / "images" / "photo" / "dog", 7)
    data = build(tmp_path, "PACS_CoOp", ("p",), ("p",))
    path = folder / "promptshift_splits" / "p_train_val_split.json"
    assert f"PACS/photo: 3 images are not in {path}; delete it" in capsys.readouterr().out
    assert len(data.train_x + data.val) == 4


def test_labels_with_holes_are_refused(tmp_path):
    folder = make_pacs(tmp_path, ("dog",))
    write_split(folder / "spg_coop_splits", "p", [["photo/dog/000.png", 4, 2, "dog"]], [])
    with pytest.raises(UserError, match="the labels of .* are not 0 to 0"):
        build(tmp_path, "PACS_CoOp", ("p",), ("p",))


def test_read_only_folder_keeps_the_split_in_memory_and_says_so(tmp_path, capsys, monkeypatch):
    make_pacs(tmp_path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    written = build(tmp_path, "PACS", (), ("p",))
    shutil.rmtree(tmp_path / "PACS" / "promptshift_splits")
    monkeypatch.setattr(splits_module, "write_json", refuse)
    capsys.readouterr()
    data = build(tmp_path, "PACS", (), ("p",))
    assert paths(data.train_x) == paths(written.train_x)
    assert capsys.readouterr().out.count("computed in memory, the folder is read-only") == 4


def test_existence_is_checked_without_stat_of_files(tmp_path, monkeypatch):
    make_pacs(tmp_path)
    build(tmp_path, "PACS", (), ("p",))
    stats, real = [], os.stat

    def spy(path, *args, **kwargs):
        stats.append(str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr("os.stat", spy)
    build(tmp_path, "PACS", (), ("p",))
    assert stats and not [path for path in stats if path.endswith(".png")]


def make_vlcs(root: Path) -> None:
    for domain in ("CALTECH", "LABELME", "PASCAL", "SUN"):
        for label in range(5):
            for part, count in (("full", 7), ("train", 5), ("crossval", 2), ("test", 3)):
                write_images(root / "VLCS" / domain / part / str(label), count, ".jpg")


def test_vlcs_trains_on_full_and_validates_on_test(tmp_path):
    make_vlcs(tmp_path)
    data = build(tmp_path, "VLCS", ("c", "l", "p"), ("s",))
    assert all("/full/" in path for path in paths(data.train_x)) and len(data.train_x) == 3 * 5 * 7
    assert all("/test/" in path for path in paths(data.val)) and len(data.val) == 3 * 5 * 3
    assert len(data.test) == 5 * 10 and data.classnames == ["bird", "car", "chair", "dog", "person"]


def test_vlcs_domain_without_its_test_folder_is_named(tmp_path):
    make_vlcs(tmp_path)
    shutil.rmtree(tmp_path / "VLCS" / "SUN" / "test")
    with pytest.raises(UserError, match="VLCS: folder .*SUN/test is missing; expected full, test"):
        build(tmp_path, "VLCS", ("c", "l", "p"), ("s",))


def test_domainbed_packings_are_split_seventy_thirty(tmp_path):
    for domain in ("Caltech101", "LabelMe", "SUN09", "VOC2007"):
        write_images(tmp_path / "VLCS" / domain / "bird", 10)
    for domain in ("Art", "Clipart", "Product", "Real World"):
        write_images(tmp_path / "office_home" / domain / "Bed", 10)
    vlcs, office = build(tmp_path, "VLCS", (), ("pascal",)), build(tmp_path, "OfficeHome", (), ("real_world",))
    assert len(vlcs.train_x) == len(office.train_x) == 21 and "/VOC2007/" in vlcs.test[0].impath
    assert "/Real World/" in office.test[0].impath


def test_office_home_splits_both_of_its_folders(tmp_path):
    for domain in ("art", "clipart", "product", "real_world"):
        write_images(tmp_path / "office_home_dg" / domain / "train" / "Bed", 20)
        write_images(tmp_path / "office_home_dg" / domain / "val" / "Bed", 10)
    data = build(tmp_path, "OfficeHome_CoOp", ("a",), ("a",))
    counts = [sum(f"/{part}/" in path for path in paths(data.train_x)) for part in ("train", "val")]
    assert counts == [14, 7] and len(data.val) == 9


def test_terra_locations(tmp_path):
    for location in (38, 43, 46, 100):
        write_images(tmp_path / "terra" / f"location_{location}" / "bobcat", 10, ".jpg")
    data = build(tmp_path, "TerraIncognita", (), ("1",))
    assert data.target_domains == ["location_100"] and {item.domain for item in data.test} == {0}
    assert len(data.train_x) == 21 and len(data.test) == 10


def make_domainnet(root: Path, count: int = 10) -> Path:
    for domain in ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"):
        for name in ("axe", "bee"):
            write_images(root / "domainnet" / domain / name, count, ".jpg")
    return root / "domainnet"


def test_domainnet_uses_three_percent_and_full_on_request(tmp_path):
    folder = make_domainnet(tmp_path, 120)
    data = build(tmp_path, "DomainNet", (), ("q",))
    assert (len(data.train_x), len(data.val), len(data.test)) == (5 * 2 * 3, 5 * 2 * 2, 2 * 5)
    assert not set(paths(data.train_x)) & set(paths(data.val))
    full = build(tmp_path, "DomainNet", (), ("q",), VARIANT="full")
    assert (len(full.train_x), len(full.val), len(full.test)) == (5 * 2 * 84, 5 * 2 * 36, 240)
    assert len(own_split(folder, "c")["train"]) == 6 and len(own_split(folder, "c", "full")["train"]) == 168


def write_lists(folder: Path) -> None:
    (folder / "splits_mini").mkdir(exist_ok=True)
    for domain in ("clipart", "painting", "real", "sketch"):
        for part, files in (("train", ("000", "001", "002")), ("test", ("003",))):
            lines = [
                f"{domain}/{name}/{file}.jpg {label}" for label, name in enumerate(("axe", "bee")) for file in files
            ]
            (folder / "splits_mini" / f"{domain}_{part}.txt").write_text("\n".join(lines) + "\n")


def test_mini_domainnet_reads_its_lists(tmp_path):
    write_lists(make_domainnet(tmp_path))
    data = build(tmp_path, "MiniDomainNet", (), ("s",))
    assert (len(data.train_x), len(data.val), len(data.test)) == (3 * 6, 3 * 2, 8)
    assert data.classnames == ["axe", "bee"] and {item.domain for item in data.test} == {3}


def test_mini_domainnet_without_lists_says_where_they_are(tmp_path):
    make_domainnet(tmp_path)
    with pytest.raises(UserError, match="splits_mini/.*_train.txt is missing; get the lists from https://drive"):
        build(tmp_path, "MiniDomainNet", (), ("s",))


def test_mini_domainnet_with_a_bad_line(tmp_path):
    folder = make_domainnet(tmp_path)
    write_lists(folder)
    (folder / "splits_mini" / "real_train.txt").write_text("real/axe/000.jpg\n")
    with pytest.raises(UserError, match="real_train.txt: entry .* is not"):
        build(tmp_path, "MiniDomainNet", (), ("s",))
