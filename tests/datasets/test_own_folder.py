"""A folder of one's own images: layouts, domains, splits, and what is refused."""

import pytest

from dassl.utils.errors import UserError
from helpers.dataset_trees import build, paths, write_images


def make_own(root, domains=("day", "night"), classes=("cat", "dog", "garden_gnome"), count=10):
    for domain in domains:
        for name in classes:
            write_images(root / "mine" / domain / name, count, ".jpg")
    return root / "mine"


def own(root, sources=(), targets=(), **options):
    return build(root, "FolderDG", sources, targets, **{"FOLDER": "mine", **options})


def test_sub_folders_are_domains_and_classes(tmp_path):
    make_own(tmp_path)
    data = own(tmp_path, (), ("night",))
    assert data.domains == ["day", "night"] and data.classnames == ["cat", "dog", "garden_gnome"]
    assert (len(data.train_x), len(data.val), len(data.test)) == (3 * 7, 3 * 3, 3 * 10)
    assert {item.domain for item in data.test} == {1} and data.name == "FolderDG-mine"
    assert not set(paths(data.train_x)) & set(paths(data.val) + paths(data.test))


def test_the_split_is_made_once_and_kept(tmp_path, capsys):
    folder = make_own(tmp_path)
    first = own(tmp_path, ("day",), ("night",))
    assert (folder / "promptshift_splits" / "day_train_val_split.json").is_file()
    capsys.readouterr()
    assert paths(own(tmp_path, ("day",), ("night",)).train_x) == paths(first.train_x)
    assert "day_train_val_split.json" in capsys.readouterr().out


def test_a_sub_folder_images_and_an_absolute_folder_are_found(tmp_path):
    for domain in ("day", "night"):
        for name in ("cat", "dog"):
            write_images(tmp_path / "mine" / "images" / domain / name, 4)
    assert own(tmp_path / "elsewhere", (), ("day",), FOLDER=str(tmp_path / "mine")).num_classes == 2


@pytest.mark.parametrize("below", ["", "images"])
def test_class_folders_alone_are_one_domain(tmp_path, below):
    for name in ("cat", "dog"):
        write_images(tmp_path / "mine" / below / name, 10)
    for _ in range(2):  # the second time the folder holds the split as well
        data = own(tmp_path, ("mine",), ("mine",), NUM_SHOTS=2)
        assert data.domains == ["mine"] and data.classnames == ["cat", "dog"]
        assert (len(data.train_x), len(data.val), len(data.test)) == (4, 2, 4)


def test_a_class_that_a_domain_lacks_is_said_and_allowed(tmp_path, capsys):
    folder = make_own(tmp_path)
    for path in sorted((folder / "night" / "dog").iterdir()):
        path.unlink()
    data = own(tmp_path, (), ("night",))
    assert data.num_classes == 3 and len(data.test) == 20
    assert "FolderDG-mine/night has no images of dog" in capsys.readouterr().out


def test_domains_have_no_codes(tmp_path):
    make_own(tmp_path)
    with pytest.raises(UserError, match=r"TARGET_DOMAINS: 'n' is not a domain of FolderDG-mine; allowed: day, night"):
        own(tmp_path, (), ("n",))


def one_class(root):
    make_own(root, classes=("cat",))


def empty_folder(root):
    (root / "mine").mkdir()


def a_domain_without_images(root):
    make_own(root)
    (root / "mine" / "dusk" / "cat").mkdir(parents=True)


def a_domain_without_classes(root):
    make_own(root)
    write_images(root / "mine" / "dusk", 3)


def domains_of_one_name(root):
    make_own(root, domains=("real world", "real_world"))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda root: None, ["DATASET.FOLDER", "'mine'", "no "]),
        (empty_folder, ["no sub-folders", "<domain>/<class>/"]),
        (one_class, ["one class (cat)"]),
        (a_domain_without_images, ["domain dusk has no images"]),
        (a_domain_without_classes, ["dusk", "no class folders", "day, night"]),
        (domains_of_one_name, ["'real world'", "'real_world'", "rename"]),
    ],
)
def test_what_is_no_dataset_is_one_clear_line(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(UserError) as error:
        own(tmp_path, (), ("night",))
    line = str(error.value)
    assert "\n" not in line and all(word in line for word in words), line


def test_a_folder_must_be_named(tmp_path):
    with pytest.raises(UserError, match="DATASET.FOLDER is empty"):
        own(tmp_path, (), ("night",), FOLDER="")


@pytest.mark.parametrize("options", [{}, {"NUM_SHOTS": 2}])
def test_one_domain_is_tested_on_images_that_neither_train_nor_select(tmp_path, options):
    make_own(tmp_path, domains=("day",), count=20)
    parts = [own(tmp_path, ("day",), ("day",), **options) for _ in range(2)]
    train, val, test = (set(paths(part)) for part in (parts[0].train_x, parts[0].val, parts[0].test))
    assert len(test) == 3 * 3 and val and not test & (train | val) and not train & val
    assert [paths(part.test) for part in parts][0] == paths(parts[1].test)
    assert all(sum(item.label == label for item in parts[0].test) == 3 for label in range(3))
