"""`promptshift data`: list, check, prepare."""

import pytest

from promptshift.cli.data import main


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


def test_list_says_what_is_there(worlds_root, capsys):
    assert main(["list", "--root", str(worlds_root)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "not there" in lines["PACS"] and "9,991" in lines["PACS"]
    assert str(worlds_root / "mini_dg2" / "images") in lines["MiniDG2"]


def test_check_reports_problems_in_its_exit_status(worlds_root, monkeypatch, capsys):
    monkeypatch.setenv("DATA", str(worlds_root))
    assert main(["check", "mini2"]) == 1
    out = capsys.readouterr().out
    assert "clipart: 24 images, 360 expected" in out and "data prepare MiniDG2" in out


def test_prepare_then_check(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("datasets._obtain.MINI_PER_CLASS", 2)
    assert main(["prepare", "mini3", "--root", str(tmp_path)]) == 1  # rendered smaller than it should be
    out = capsys.readouterr().out
    assert "Rendering the mini world MiniDG3" in out and "chalk: 12 images (expected 360)" in out
    assert (tmp_path / "mini_dg3" / "promptshift_splits").is_dir()


def test_an_own_folder_is_checked_by_its_yaml(worlds_root, tmp_path, capsys):
    (tmp_path / "my_folder").symlink_to(worlds_root / "mini_dg2" / "images")
    assert main(["check", "my_folder", "--deep", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "FolderDG-my_folder" in out and "watercolor: 24 images" in out and "all is well" in out


@pytest.mark.parametrize(
    "argv, word",
    [
        (["check", "pacz"], "did you mean 'pacs'"),
        (["check"], "DATASET"),
        (["verify", "pacs"], "verify"),
        (["check", "my_folder", "--root", "/nowhere"], "DATASET.FOLDER"),
    ],
)
def test_a_wrong_request_is_one_line(argv, word, capsys):
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and word in err
