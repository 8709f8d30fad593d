"""What a split file, an image list or a few-shot cache of somebody else may name: images of the dataset, once."""

import json
import os
import pickle
import shutil

import pytest

from dassl.data.datasets import DatasetBase, Datum
from dassl.utils.errors import UserError
from datasets._check import check_dataset
from datasets._entries import plain_files, plain_names, whole
from datasets._fewshot import fewshot_sets
from helpers.dataset_trees import PNG, build, make_imagenet, make_pacs, make_split_set, paths, write_images, write_split

OUTWARDS = [
    "../outside.png",
    "ant/../../outside.png",
    "ant\\..\\..\\outside.png",
    "..\\outside.png",
    "/etc/outside.png",
    "C:/outside.png",
    "c:\\outside.png",
    "C:outside.png",
    "\\\\server\\outside.png",
    "//server/outside.png",
    "ant/./../../outside.png",
    "",
    ".",
    "..",
    "/",
    "ant/..",
    "ant/0\0.png",
    "ant/\udcff.png",
]
NO_PATHS = [None, 5, 1.5, True, [], ["a"], {}]


def one_line_of(error):
    message = str(error.value)
    assert "\n" not in message and len(message) < 1500, message
    message.encode("utf-8")
    return message


@pytest.mark.parametrize("path", OUTWARDS + NO_PATHS)
def test_paths_that_leave_the_folder_are_no_plain_names(path):
    with pytest.raises(ValueError):
        plain_names(path)


def test_plain_names_are_folders_and_a_file():
    assert plain_names("a/b\\c.png") == plain_names("./a//b/./c.png") == ["a", "b", "c.png"]
    assert plain_names("/x/a.png", absolute=True) == ["x", "a.png"]
    assert plain_names("C:\\a", absolute=True) == ["C:", "a"]
    assert plain_names("...") == ["..."] and plain_names("a..b/c") == ["a..b", "c"]
    for names in (["a/b"], ["a\\b"], [".."], [""], ["a\0"], ["\udcff"], [3], "abc", None):
        with pytest.raises(ValueError):
            plain_files(names)


@pytest.mark.parametrize("value", [-1, 1.0, 1.5, True, None, "x", "-1", "", "1.0", [], float("inf"), 10**12])
def test_labels_are_whole_numbers(value):
    with pytest.raises(ValueError):
        whole(value)


@pytest.mark.parametrize(
    "name",
    [
        "cartoon/../../../outside.png",
        "cartoon\\..\\..\\..\\outside.png",
        "cartoon/../sketch/dog/000.png",
        "../images/cartoon/../sketch/dog/000.png",
        "cartoon/dog/../../sketch/dog/000.png",
        "/cartoon/../sketch/dog/000.png",
        "cartoon/dog/..",
        "cartoon/dog/",
        "cartoon",
        "sketch/dog/000.png",
        *NO_PATHS,
    ],
)
def test_a_domain_s_split_file_names_images_of_the_domain_only(tmp_path, name):
    folder = make_pacs(tmp_path, ("dog",), 4)
    (tmp_path / "outside.png").write_bytes(PNG)
    path = write_split(folder / "spg_coop_splits", "c", [["cartoon/dog/000.png", 0, 1, "dog"], [name, 0, 1, "dog"]], [])
    with pytest.raises(UserError) as error:
        build(tmp_path, "PACS_CoOp", ("c",), ("c",))
    assert str(path) in one_line_of(error)


@pytest.mark.parametrize("name", OUTWARDS + NO_PATHS)
def test_a_split_file_names_images_of_the_image_folder_only(tmp_path, name):
    path = make_split_set(tmp_path) / "split_zhou_Caltech101.json"
    (tmp_path / "caltech-101" / "outside.png").write_bytes(PNG)
    split = json.loads(path.read_text())
    split["train"].append([name, 0, "ant"])
    path.write_text(json.dumps(split))
    with pytest.raises(UserError) as error:
        build(tmp_path, "Caltech101")
    assert str(path) in one_line_of(error)


@pytest.mark.parametrize(
    "entry",
    [
        ["cartoon/dog/000.png", -1, 1, "dog"],
        ["cartoon/dog/000.png", 0.5, 1, "dog"],
        ["cartoon/dog/000.png", True, 1, "dog"],
        ["cartoon/dog/000.png", 0, float("inf"), "dog"],
        ["cartoon/dog/000.png", 0, float("nan"), "dog"],
        ["cartoon/dog/000.png", 10**400, 1, "dog"],
        ["cartoon/dog/000.png", 0, 1, None],
        ["cartoon/dog/000.png", 0, 1, ""],
        ["cartoon/dog/000.png", 0, 1, ["dog"]],
        ["cartoon/dog/000.png", 0, 1, "\udcff"],
        ["x" * 100_000, 0, 1, "dog"],
        5,
        None,
        "abcd",
        {},
        [],
        [[]] * 4,
    ],
)
def test_odd_entries_of_a_split_file_are_one_line(tmp_path, entry):
    folder = make_pacs(tmp_path, ("dog",), 4)
    path = write_split(folder / "spg_coop_splits", "c", [entry], [])
    with pytest.raises(UserError) as error:
        build(tmp_path, "PACS_CoOp", ("c",), ("c",))
    assert str(path) in one_line_of(error)


@pytest.mark.parametrize(
    "content",
    [
        '{"train": 3, "val": []}',
        '{"train": [], "val": {"a": 1}}',
        '{"train": "ab", "val": []}',
        "3",
        "null",
        '"text"',
        "[" * 200_000,
        '{"train": [1' + "0" * 6000 + '], "val": []}',
        '{"train": [["\\ud800", 0, 1, "x"]], "val": []}',
        '{"train": [\xff',
    ],
)
@pytest.mark.parametrize("kind", ["domain", "parts", "few"])
def test_files_that_are_no_lists_of_entries_are_one_line(tmp_path, content, kind):
    if kind == "domain":
        path = write_split(make_pacs(tmp_path, ("dog",), 4) / "spg_coop_splits", "c", [], [])
    elif kind == "parts":
        path = make_split_set(tmp_path) / "split_zhou_Caltech101.json"
    else:
        path = make_split_set(tmp_path) / "split_fewshot" / "shot_2-seed_1.json"
        path.parent.mkdir()
    path.write_bytes(content.encode("latin1"))
    with pytest.raises(UserError) as error:
        build(tmp_path, "PACS_CoOp", ("c",), ("c",)) if kind == "domain" else build(tmp_path, "Caltech101", NUM_SHOTS=2)
    assert path.name in one_line_of(error)


@pytest.mark.parametrize(
    "link, target",
    [
        ("cartoon/dog/link.png", "outside.png"),
        ("cartoon/dog/link.png", "PACS/images/sketch/dog/000.png"),
        ("cartoon/dog/link.png", "PACS/images/cartoon/dog/link.png"),
        ("cartoon/cat", "PACS/images/sketch/dog"),
        ("cartoon/cat", "elsewhere"),
    ],
)
def test_links_that_leave_a_domain_are_refused(tmp_path, link, target):
    folder = make_pacs(tmp_path, ("dog",), 4)
    (tmp_path / "outside.png").write_bytes(PNG)
    write_images(tmp_path / "elsewhere", 1)
    os.symlink(tmp_path / target, folder / "images" / link)
    name = link if link.endswith(".png") else f"{link}/000.png"
    path = write_split(folder / "spg_coop_splits", "c", [["cartoon/dog/000.png", 0, 1, "dog"]], [[name, 0, 1, "dog"]])
    with pytest.raises(UserError, match="links lead out") as error:
        build(tmp_path, "PACS_CoOp", ("c",), ("c",))
    assert str(path) in one_line_of(error) and name in str(error.value)
    shutil.rmtree(path.parent)
    with pytest.raises(UserError, match="links lead out"):  # nor are they taken into a split of our own
        build(tmp_path, "PACS_CoOp", ("c",), ("c",))


def test_a_dataset_or_a_domain_may_lie_elsewhere_but_two_domains_not_in_one_place(tmp_path):
    make_pacs(tmp_path / "disk", ("dog",), 4)
    shutil.move(tmp_path / "disk/PACS/images/sketch", tmp_path / "other_disk")
    os.symlink(tmp_path / "other_disk", tmp_path / "disk/PACS/images/sketch")
    os.symlink("000.png", tmp_path / "other_disk/dog/again.png")  # a link inside the domain
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "disk/PACS", tmp_path / "data/PACS")
    assert len(build(tmp_path / "data", "PACS", (), ("s",)).test) == 5
    (tmp_path / "disk/PACS/images/sketch").unlink()
    os.symlink("cartoon", tmp_path / "disk/PACS/images/sketch")
    with pytest.raises(UserError, match="cartoon and sketch|sketch and cartoon") as error:
        build(tmp_path / "data", "PACS", (), ("s",))
    one_line_of(error)


def test_links_out_of_an_image_folder_are_refused(tmp_path):
    folder = make_split_set(tmp_path)
    image = folder / "101_ObjectCategories" / "ant" / "000.jpg"
    shutil.move(image, tmp_path / "outside.jpg")
    os.symlink(tmp_path / "outside.jpg", image)
    with pytest.raises(UserError, match="names 1 of 54 images that links lead out.*ant/000.jpg"):
        build(tmp_path, "Caltech101")
    cars = make_split_set(tmp_path, "StanfordCars")  # whose image folder is the dataset's: its sub-folders may be links
    shutil.move(cars / "ant", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", cars / "ant")
    assert len(build(tmp_path, "StanfordCars").train_x) == 18


@pytest.mark.parametrize("parts", [("train", "val"), ("train", "test"), ("val", "test")])
def test_images_in_two_parts_are_refused(tmp_path, parts):
    path = make_split_set(tmp_path) / "split_zhou_Caltech101.json"
    split = json.loads(path.read_text())
    name, *rest = split[parts[0]][0]
    split[parts[1]].append([f".\\{name}", *rest])
    path.write_text(json.dumps(split))
    with pytest.raises(UserError, match=f"1 images are in {parts[0]} and in {parts[1]}, e.g. {name}"):
        build(tmp_path, "Caltech101")
    assert any("are in" in problem for problem in check_dataset("Caltech101", tmp_path).problems)
    if "train" in parts and "test" in parts:
        with pytest.raises(UserError, match="are in train and in test"):
            build(tmp_path, "Caltech101", VARIANT="val_is_test")
    else:  # the file's val is not used
        assert len(build(tmp_path, "Caltech101", VARIANT="val_is_test").val) == len(split["test"])


def test_a_domain_whose_train_is_its_val_is_refused(tmp_path):
    folder = make_pacs(tmp_path, ("dog",), 4)
    entries = [[f"cartoon/dog/00{i}.png", 0, 1, "dog"] for i in range(4)]
    path = write_split(folder / "spg_coop_splits", "c", entries, entries)
    with pytest.raises(UserError, match="PACS/cartoon: 4 images are in train and in val") as error:
        build(tmp_path, "PACS_CoOp", ("c",), ("c",))
    assert str(path) in one_line_of(error)


def test_images_named_twice_are_said(tmp_path, capsys):
    folder = make_pacs(tmp_path, ("dog",), 4)
    entries = [[f"cartoon/dog/00{i}.png", 0, 1, "dog"] for i in (0, 1, 1, 0, 1)]
    path = write_split(folder / "spg_coop_splits", "c", entries, [])
    assert len(build(tmp_path, "PACS_CoOp", ("c",), ("c",)).train_x) == 5
    lines = [line for line in capsys.readouterr().out.splitlines() if "more than once" in line]
    assert len(lines) == 1 and f"{path} names 2 images more than once in train, e.g. cartoon/dog/000.png" in lines[0]


def test_few_shot_caches_name_images_of_the_split_only(tmp_path, capsys):
    train = [Datum(f"{tmp_path}/ant/{i}.png", 0, 0, "ant") for i in range(4)]
    for name in ("../ant/0.png", "ant/../ant/0.png", "ant\\..\\0.png", "other/0.png", "/etc/passwd", "", *NO_PATHS):
        (tmp_path / "shot_1-seed_1.json").write_text(json.dumps({"train": [[name, 0, 0, "ant"]], "val": []}))
        with pytest.raises(UserError, match="shot_1-seed_1.json") as error:
            fewshot_sets(DatasetBase(train_x=train), train, [], 1, 1, tmp_path, tmp_path)
        one_line_of(error)
    (tmp_path / "shot_1-seed_1.json").write_text('{"train": [["ant/1.png"], ["D:\\\\x\\\\ant\\\\1.png"]], "val": []}')
    drawn, _ = fewshot_sets(DatasetBase(train_x=train), train, [], 1, 1, tmp_path, tmp_path)
    assert paths(drawn) == [train[1].impath] * 2 and "names 1 images once more" in capsys.readouterr().out
    (tmp_path / "shot_1-seed_1.json").unlink()
    for content in ({"train": [5], "val": []}, {"train": 5}, 5, {"train": [Datum("a/../../b.png")]}):
        (tmp_path / "shot_1-seed_1.pkl").write_bytes(pickle.dumps(content))
        with pytest.raises(UserError, match="shot_1-seed_1.pkl") as error:
            fewshot_sets(DatasetBase(train_x=train), train, [], 1, 1, tmp_path, tmp_path)
        one_line_of(error)


@pytest.mark.parametrize(
    "listing",
    [
        3,
        [],
        {"train": {}},
        {"train": {"n00000001": 3}, "val": {}},
        {"train": {"n00000001": ["../a.png"]}, "val": {}},
        {"train": {"n00000001": ["a\\b.png"]}, "val": {}},
        {"train": {"../x": ["a.png"]}, "val": {}},
        {"train": {"n00000001": [None]}, "val": {}},
        {"train": {"n00000001": ["\udcff.png"]}, "val": {}},
    ],
)
def test_a_listing_of_imagenet_holds_plain_names(tmp_path, listing):
    path = make_imagenet(tmp_path) / "promptshift_listing.json"
    path.write_text(json.dumps(listing))
    with pytest.raises(UserError, match="promptshift_listing.json: not a listing") as error:
        build(tmp_path, "ImageNet")
    one_line_of(error)


def test_upstream_s_listing_does_not_lead_out_of_the_folder(tmp_path):
    folder = make_imagenet(tmp_path)
    for impath in ("images/train/n00000001/..", "n00000001/../../x.png", "0.png"):
        item = Datum(impath, 0, 0, "")
        (folder / "preprocessed.pkl").write_bytes(pickle.dumps({"train": [item], "test": [item]}))
        with pytest.raises(UserError, match="preprocessed.pkl: not a listing"):
            build(tmp_path, "ImageNet")


@pytest.mark.parametrize("where", ["class", "image", "domain"])
def test_names_that_are_not_utf8_are_one_line(tmp_path, where):
    folder = make_pacs(tmp_path, ("dog",), 4) / "images"
    odd = os.fsencode(folder / {"class": "photo", "image": "photo/dog", "domain": ""}[where]) + b"/caf\xe9"
    try:
        os.mkdir(odd) if where != "image" else open(odd + b".png", "wb").close()
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(UserError, match=r"caf\\udce9.* is not UTF-8; rename it") as error:
        build(tmp_path, "PACS", (), ("p",))
    one_line_of(error)


def test_lists_that_are_not_utf8_and_sets_without_their_split_file_are_one_line(tmp_path):
    folder = tmp_path / "fgvc_aircraft"
    write_images(folder / "images", 6, ".jpg")
    (folder / "variants.txt").write_bytes(b"707\xff\n")
    with pytest.raises(UserError, match="variants.txt is not UTF-8 text"):
        build(tmp_path, "FGVCAircraft")
    (folder / "variants.txt").write_text("707\n")
    for part in ("train", "val", "test"):
        (folder / f"images_variant_{part}.txt").write_text("../../x 707\n")
    with pytest.raises(UserError, match="images_variant_train.txt"):
        build(tmp_path, "FGVCAircraft")
    (make_split_set(tmp_path) / "split_zhou_Caltech101.json").unlink()
    problems = check_dataset("Caltech101", tmp_path).problems
    assert any("no split_zhou_Caltech101.json under" in problem for problem in problems)
