"""Datasets without domains: upstream's folders and lists, halves of the classes, few shots, and what is refused."""

import json
import pickle
import shutil

import pytest

from dassl.data.datasets import Datum
from dassl.utils.errors import UserError
from datasets._check import check_dataset, format_report
from datasets._image_facts import IMAGE_SETS
from helpers.dataset_trees import SYNSETS, build, make_imagenet, make_split_set, paths, write_images
from promptshift.mini import MINI_DG


@pytest.mark.parametrize("name", [name for name, facts in IMAGE_SETS.items() if facts.layout == "split"])
def test_every_set_with_a_split_file_is_read_in_upstream_s_layout(tmp_path, name):
    make_split_set(tmp_path, name)
    data = build(tmp_path, name)
    assert data.classnames == ["ant", "bee", "cat"] and data.name == name and data.domains == ()
    assert [len(part) for part in (data.train_x, data.val, data.test)] == [18, 18, 18]
    assert not set(paths(data.val)) & set(paths(data.test))
    assert data.test[-1].impath.endswith("/cat/017.jpg") and data.test[-1].label == 2


def test_halves_are_taken_after_the_draw_and_relabelled(tmp_path):
    make_split_set(tmp_path)
    every = build(tmp_path, "Caltech101", NUM_SHOTS=2)
    base = build(tmp_path, "Caltech101", NUM_SHOTS=2, SUBSAMPLE_CLASSES="base")
    new = build(tmp_path, "Caltech101", NUM_SHOTS=2, SUBSAMPLE_CLASSES="new")
    assert (base.classnames, new.classnames) == (["ant", "bee"], ["cat"])
    assert paths(base.train_x) == [item.impath for item in every.train_x if item.label < 2]
    assert paths(new.train_x) == [item.impath for item in every.train_x if item.label == 2]
    assert {item.label for item in new.test} == {0} and len(new.test) == 6
    cache = json.loads((tmp_path / "caltech-101" / "split_fewshot" / "shot_2-seed_1.json").read_text())
    assert len(cache["train"]) == 6 and len(cache["val"]) == 6


def test_fewer_images_than_shots_is_one_line(tmp_path, capsys):
    make_split_set(tmp_path)
    assert len(build(tmp_path, "Caltech101", NUM_SHOTS=16).train_x) == 18
    lines = [line for line in capsys.readouterr().out.splitlines() if "NUM_SHOTS" in line]
    assert lines == [
        "DATASET.NUM_SHOTS: 16: fewer shots than asked for ant (6), bee (6), cat (6), which have no more images"
    ]


def test_the_released_rule_of_promptkd_and_dpc_is_there_by_name(tmp_path):
    make_split_set(tmp_path)
    data = build(tmp_path, "Caltech101", NUM_SHOTS=2, VARIANT="val_is_test")
    assert data.val_is_test and paths(data.val) == paths(data.test)
    assert not build(tmp_path, "Caltech101").val_is_test
    with pytest.raises(UserError, match="VARIANT: 'val_is_tset' is not a variant.*did you mean 'val_is_test'"):
        build(tmp_path, "Caltech101", VARIANT="val_is_tset")


def test_an_archive_may_nest_the_images_and_the_split_may_lie_beside_them(tmp_path):
    folder = make_split_set(tmp_path, "DescribableTextures")
    (folder / "dtd").mkdir()
    shutil.move(folder / "images", folder / "dtd" / "images")
    assert "/dtd/dtd/images/ant/" in build(tmp_path, "DescribableTextures").train_x[0].impath


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda split: split["test"].append(split["val"][0]), "1 images are in val and in test, e.g. ant/006.jpg"),
        (lambda split: split["train"].append(["ant/gone.jpg", 0, "ant"]), "names 1 of 55 images that are not under"),
        (lambda split: split["train"].append(["ant/000.jpg", 7, "owl"]), "4 labels, the highest is 7"),
        (lambda split: split["train"].append(["ant/000.jpg", 0, "owl"]), "label 0 is called 'ant' and 'owl'"),
        (lambda split: split["train"].append(["ant/000.jpg"]), "not a split file"),
        (lambda split: split.pop("val"), "not a split file"),
    ],
)
def test_a_wrong_split_is_one_line_with_what_to_do(tmp_path, change, words):
    path = make_split_set(tmp_path) / "split_zhou_Caltech101.json"
    split = json.loads(path.read_text())
    change(split)
    path.write_text(json.dumps(split))
    with pytest.raises(UserError) as error:
        build(tmp_path, "Caltech101")
    line = str(error.value)
    assert words in line and "\n" not in line


@pytest.mark.parametrize(
    "option, words",
    [
        (dict(TEST_ALL=True), "TEST_ALL: True is for datasets with domains"),
        (dict(SOURCE_DOMAINS=("photo",)), "SOURCE_DOMAINS: photo; Caltech101 has no domains"),
        (dict(SUBSAMPLE_CLASSES="old"), "SUBSAMPLE_CLASSES: 'old' is not allowed"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, option, words):
    make_split_set(tmp_path)
    with pytest.raises(UserError, match=words):
        build(tmp_path, "Caltech101", **{"sources": option.pop("SOURCE_DOMAINS", ()), **option})


def test_aircraft_reads_its_own_lists(tmp_path):
    folder = tmp_path / "fgvc_aircraft"
    write_images(folder / "images", 6, ".jpg")
    (folder / "variants.txt").write_text("707-320\nBoeing 717\n")
    for number, part in enumerate(("train", "val", "test")):
        (folder / f"images_variant_{part}.txt").write_text(f"{2 * number:03} Boeing 717\n{2 * number + 1:03} 707-320\n")
    data = build(tmp_path, "FGVCAircraft")
    assert data.classnames == ["707-320", "Boeing 717"]
    assert [(item.impath[-7:], item.label) for item in data.test] == [("004.jpg", 1), ("005.jpg", 0)]
    (folder / "images_variant_val.txt").write_text("002 Boeing 7177\n")
    with pytest.raises(UserError, match="'Boeing 7177' is not in .*variants.txt"):
        build(tmp_path, "FGVCAircraft")


def test_imagenet_lists_its_folders_once_and_stats_no_image(tmp_path, monkeypatch):
    folder = make_imagenet(tmp_path)
    first = build(tmp_path, "ImageNet", NUM_SHOTS=2)
    listing = json.loads((folder / "promptshift_listing.json").read_text())
    assert len(listing["train"]["n00000001"]) == 8
    monkeypatch.setattr("datasets._image_readers.image_names", lambda folder: pytest.fail("listed again"))
    shutil.rmtree(folder / "images" / "train")
    again = build(tmp_path, "ImageNet", NUM_SHOTS=2)
    assert paths(again.train_x) == paths(first.train_x)
    assert first.classnames == list(SYNSETS.values()) and len(first.test) == 9
    assert first.test[0].impath.endswith("images/val/n00000001/000.JPEG")


def test_imagenet_s_val_images_are_training_images_left_over(tmp_path):
    make_imagenet(tmp_path)
    data, again = (build(tmp_path, "ImageNet", NUM_SHOTS=2) for _ in range(2))
    assert len(data.val) == 6 and all("/train/" in path for path in paths(data.val))
    assert not set(paths(data.val)) & set(paths(data.train_x) + paths(data.test))
    assert paths(again.val) == paths(data.val)
    assert build(tmp_path, "ImageNet").val == []


def test_upstream_s_pickled_listing_and_few_shots_are_read(tmp_path):
    folder = make_imagenet(tmp_path)
    names = {"train": ["n00000002/001.JPEG", "n00000001/003.JPEG"], "val": ["n00000001/000.JPEG", "n00000002/000.JPEG"]}
    items = {
        part: [Datum(f"/other/imagenet/images/{part}/{name}", int(name[8]) - 1, 0, "") for name in listed]
        for part, listed in names.items()
    }
    (folder / "preprocessed.pkl").write_bytes(pickle.dumps({"train": items["train"], "test": items["val"]}))
    (folder / "split_fewshot").mkdir()
    (folder / "split_fewshot" / "shot_1-seed_1.pkl").write_bytes(pickle.dumps({"train": items["train"][:1]}))
    assert [path[-18:] for path in paths(build(tmp_path, "ImageNet").train_x)] == names["train"]
    assert [path[-18:] for path in paths(build(tmp_path, "ImageNet", NUM_SHOTS=1).train_x)] == names["train"][:1]


@pytest.mark.parametrize(
    "name, folder",
    [
        ("ImageNetSketch", "imagenet-sketch/images"),
        ("ImageNetA", "imagenet-adversarial/imagenet-a"),
        ("ImageNetR", "imagenet-rendition/imagenet-r"),
    ],
)
def test_variants_have_the_classes_whose_folders_are_there(tmp_path, name, folder):
    make_imagenet(tmp_path)
    for synset in list(SYNSETS)[1:]:
        write_images(tmp_path / folder / synset, 2)
    (tmp_path / folder / "README.txt").write_text("ignored")
    data = build(tmp_path, name, NUM_SHOTS=1)
    assert data.test_only and data.classnames == ["great white shark", "hen"] and len(data.test) == 4
    assert not (tmp_path / folder).parent.joinpath("split_fewshot").exists()


def test_imagenet_v2_sorts_its_folders_as_numbers(tmp_path):
    make_imagenet(tmp_path)
    names = [f"n{index:08} class {index}" for index in range(11)]
    (tmp_path / "imagenetv2").mkdir()
    (tmp_path / "imagenetv2" / "classnames.txt").write_text("\n".join(names))
    for index in range(11):
        write_images(tmp_path / "imagenetv2" / "imagenetv2-matched-frequency-format-val" / str(index), 1)
    data = build(tmp_path, "ImageNetV2")
    assert data.classnames == [f"class {index}" for index in range(11)]
    assert data.test[10].impath.endswith("val/10/000.png")


def test_missing_images_are_one_line_with_links_mirror_and_way_out(tmp_path):
    with pytest.raises(UserError) as error:
        build(tmp_path, "OxfordPets")
    line = str(error.value)
    for words in (
        "DATASET.DOWNLOAD is False",
        "1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs",
        "huggingface.co/zhengli97/",
        "images.tar.gz",
        "bash scripts/coop/main.sh mini_b2n",
    ):
        assert words in line
    assert "\n" not in line


def test_the_split_file_is_downloaded_beside_the_images(tmp_path, monkeypatch):
    folder = make_split_set(tmp_path)
    text = (folder / "split_zhou_Caltech101.json").read_bytes()
    (folder / "split_zhou_Caltech101.json").unlink()
    asked = []

    def fetch(source, dst, gdrive=False):
        asked.append((source, gdrive))
        open(dst, "wb").write(text)

    monkeypatch.setattr("datasets._obtain.fetch", fetch)
    assert len(build(tmp_path, "Caltech101", DOWNLOAD=True).test) == 18
    assert asked == [("1hyarUivQE36mY6jSomru6Fjd-JzwcCzN", True)]
    assert (folder / "split_zhou_Caltech101.json").is_file() and len(build(tmp_path, "Caltech101").test) == 18


def test_the_report_counts_parts_against_the_known_totals(tmp_path):
    folder = make_split_set(tmp_path)
    (folder / "101_ObjectCategories" / "ant" / "000.jpg").write_bytes(b"no image")
    report = check_dataset("caltech101", tmp_path, deep=True)
    text = format_report(report)
    assert "train: 18 images (expected 4,128); 3 of 100 classes, 6 to 6 images each" in text
    assert "new test: 6 images, 916 expected" in report.problems and "huggingface" in text
    assert f"train: unreadable image {folder / '101_ObjectCategories' / 'ant' / '000.jpg'}" in report.problems


def test_the_mini_sets_have_enough_images_of_the_right_style(tmp_path, monkeypatch):
    for name in MINI_DG.classes:
        write_images(tmp_path / "mini_b2n" / "images" / "photo" / name, 45)
    monkeypatch.setattr("datasets._obtain.MINI_PER_CLASS", 1)
    data = build(tmp_path, "mini_b2n", NUM_SHOTS=16, SUBSAMPLE_CLASSES="base")
    assert [len(part) for part in (data.train_x, data.val, data.test)] == [160, 40, 50] and data.num_classes == 10
    sketch = build(tmp_path, "mini_b2n_sketch", SUBSAMPLE_CLASSES="new")
    assert sketch.test_only and len(sketch.test) == 10 and "/images/sketch/" in sketch.test[0].impath
    assert sketch.classnames == build(tmp_path, "mini_b2n", SUBSAMPLE_CLASSES="new").classnames
