"""What the datasets hold: train, val, test, labels, domains, class names, shots and class halves."""

import shutil

import pytest

from dassl.utils.errors import UserError
from datasets.domain_sets import domain_sets
from helpers.dataset_trees import PACS, build, make_pacs, paths, write_images, write_split


def test_leave_one_out_sets(tmp_path):
    make_pacs(tmp_path)
    data = build(tmp_path, "PACS", (), ("photo",))
    assert len(data.train_x) == 3 * 3 * 7 and len(data.val) == 3 * 3 * 3 and len(data.test) == 3 * 10
    assert {item.domain for item in data.train_x} == {item.domain for item in data.val} == {0, 1, 3}
    assert {item.domain for item in data.test} == {2}
    assert not set(paths(data.val)) & set(paths(data.test) + paths(data.train_x))
    assert data.classnames == ["dog", "horse", "person"] and data.lab2cname == {0: "dog", 1: "horse", 2: "person"}


def test_sources_equal_to_targets_test_on_val(tmp_path):
    make_pacs(tmp_path)
    data = build(tmp_path, "SPG_PACS_CoOp", ("p",), ("p",))
    assert paths(data.test) == paths(data.val) and len(data.train_x) == 21 and len(data.val) == 9


def test_all_images_of_all_domains_are_tested_where_that_is_asked_for(tmp_path):
    make_pacs(tmp_path)
    data = build(tmp_path, "PACS", PACS, PACS, TEST_ALL=True)
    assert len(data.test) == 4 * 3 * 10 and {item.domain for item in data.test} == {0, 1, 2, 3}
    assert len(build(tmp_path, "PACS", PACS, PACS).test) == 4 * 3 * 3


def test_class_names_keep_their_underscores(tmp_path):
    for domain in ("art", "clipart", "product", "real_world"):
        write_images(tmp_path / "office_home_dg" / domain / "train" / "Alarm_Clock", 4)
        write_images(tmp_path / "office_home_dg" / domain / "val" / "Alarm_Clock", 4)
    data = build(tmp_path, "OfficeHome", (), ("r",))
    assert {item.classname for item in data.train_x} == {"Alarm_Clock"}


def test_labels_do_not_depend_on_the_domains_in_use(tmp_path, capsys):
    folder = make_pacs(tmp_path)
    for domain in PACS[:3]:
        shutil.rmtree(folder / "images" / domain / "dog")
    data = build(tmp_path, "PACS", ("a", "c"), ("p",))
    assert data.classnames == ["dog", "horse", "person"] and data.num_classes == 3
    assert {item.label for item in data.train_x} == {1, 2}
    out = capsys.readouterr().out
    assert "PACS/photo has no images of dog" in out and "PACS has 3 classes" in out and "7 expected" in out


def test_a_source_domain_without_images_is_an_error(tmp_path):
    folder = make_pacs(tmp_path)
    shutil.rmtree(folder / "images" / "sketch")
    (folder / "images" / "sketch").mkdir()
    with pytest.raises(UserError, match="PACS: domain sketch has no images under .*sketch"):
        build(tmp_path, "PACS", (), ("p",))
    write_images(folder / "images" / "sketch" / "dog", 4)
    assert len(build(tmp_path, "PACS", ("s",), ("p",)).train_x) == 3


def test_a_source_domain_without_train_images_in_its_split_is_an_error(tmp_path):
    folder = make_pacs(tmp_path, ("dog",))
    path = write_split(folder / "spg_coop_splits", "s", [], [["sketch/dog/000.png", 0, 3, "dog"]])
    with pytest.raises(UserError, match=f"PACS: domain sketch has no images .*{path.name}"):
        build(tmp_path, "PACS", (), ("p",))
    assert len(build(tmp_path, "PACS", ("a",), ("s",)).test) == 1


def test_no_class_folders_is_an_error(tmp_path):
    for domain in PACS:
        (tmp_path / "PACS" / "images" / domain).mkdir(parents=True)
    with pytest.raises(UserError, match="PACS: no class folders under"):
        build(tmp_path, "PACS", (), ("p",))


def test_empty_root_is_an_error():
    with pytest.raises(UserError, match="DATASET.ROOT is empty.*--root"):
        build("", "PACS", (), ("p",))


def test_unknown_variant_is_an_error(tmp_path):
    make_pacs(tmp_path)
    with pytest.raises(UserError, match="DATASET.VARIANT: 'full' is not a variant of PACS"):
        build(tmp_path, "PACS", (), ("p",), VARIANT="full")


@pytest.mark.parametrize(
    "subsample, names, labels",
    [
        ("all", ["a", "b", "c", "d", "e"], {0, 1, 2, 3, 4}),
        ("base", ["a", "b", "c"], {0, 1, 2}),
        ("new", ["d", "e"], {0, 1}),
    ],
)
def test_class_halves_are_relabelled_from_zero(tmp_path, subsample, names, labels):
    make_pacs(tmp_path, ("a", "b", "c", "d", "e"), 4)
    data = build(tmp_path, "PACS", (), ("p",), SUBSAMPLE_CLASSES=subsample)
    assert data.classnames == names
    for part in (data.train_x, data.val, data.test):
        assert {item.label for item in part} == labels
        assert all(names[item.label] == item.classname for item in part)


def test_unknown_class_half_is_an_error(tmp_path):
    make_pacs(tmp_path)
    with pytest.raises(UserError, match="SUBSAMPLE_CLASSES: 'bsae'.*all, base, new.*did you mean 'base'"):
        build(tmp_path, "PACS", (), ("p",), SUBSAMPLE_CLASSES="bsae")


def test_mini_world_is_a_member_like_the_others(mini_root):
    data = build(mini_root, "MiniDG", (), ("sketch",))
    assert data.num_classes == 20 and data.classnames == sorted(data.classnames)
    assert len(data.train_x) == 3 * 20 * 8 and len(data.val) == 3 * 20 * 4 and len(data.test) == 20 * 12
    assert set(data.domains) == set(domain_sets["MiniDG"].domains)


def test_mini_world_renders_itself_when_absent(tmp_path, monkeypatch):
    import promptshift.mini

    calls = []

    def render(spec, folder, per_class, seed):
        calls.append((spec, per_class, seed))
        for domain in PACS:
            write_images(folder / "images" / domain / "apple", 4)

    monkeypatch.setattr(promptshift.mini, "render_world", render)
    for _ in range(2):
        assert build(tmp_path, "mini", (), ("p",)).classnames == ["apple"]
    assert calls == [(promptshift.mini.MINI_DG, 60, 0)]
