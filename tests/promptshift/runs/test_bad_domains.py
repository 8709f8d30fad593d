"""Domains that are not as they should be: refused in one line, or run as far as they make sense."""

import json
import shutil

import pytest

from helpers.mini_runs import arguments
from promptshift.runs.run import main

CLASSES = ("apple", "bird", "clock")
DOMAINS = ("art_painting", "cartoon", "photo")


@pytest.fixture
def folder(mini_root, tmp_path):
    """Three classes of three domains as a folder of one's own, <root>/mine/<domain>/<class>/*.png."""
    for domain in DOMAINS:
        for name in CLASSES:
            source = mini_root / "mini_dg" / "images" / domain / name
            shutil.copytree(source, tmp_path / "data" / "mine" / domain / name)
    return tmp_path / "data" / "mine"


@pytest.fixture
def attempt(folder, tmp_path, capsys):
    """attempt(trainer, *options) -> (exit status, the error lines, result.json or None)."""

    def run(trainer, *options):
        options = ("DATASET.NAME", "FolderDG", "DATASET.FOLDER", "mine", *options)
        status = main(arguments(folder.parent, tmp_path / "run", trainer, *options, target="photo"))
        result = tmp_path / "run" / "result.json"
        return status, capsys.readouterr().err.strip(), json.loads(result.read_text()) if result.exists() else None

    return run


def assert_refused(outcome, *words):
    status, error, result = outcome
    assert status == 2 and result is None
    assert error.startswith("error: ") and "\n" not in error, error
    for word in words:
        assert word in error, error


@pytest.mark.parametrize("trainer", ["CoOp", "SPG", "DPSPG", "LDPF"])
def test_an_empty_domain_folder_is_named(folder, attempt, trainer):
    for image in (folder / "cartoon").rglob("*.png"):
        image.unlink()
    assert_refused(attempt(trainer), "cartoon")


@pytest.mark.parametrize("trainer", ["SPG", "DPSPG", "LDPF", "DPLCLIP"])
def test_a_class_that_one_source_lacks_does_not_stop_the_run(folder, attempt, trainer):
    shutil.rmtree(folder / "cartoon" / "bird")
    status, error, result = attempt(trainer)
    assert status == 0, error
    assert 0 <= result["metrics"]["accuracy"] <= 100


@pytest.mark.parametrize("trainer", ["CoOp", "SPG", "DPSPG", "LDPF"])
def test_a_source_of_one_class_does_not_stop_the_run(folder, attempt, trainer):
    for name in CLASSES[1:]:
        shutil.rmtree(folder / "cartoon" / name)
    status, error, result = attempt(trainer)
    assert status == 0, error
    assert result["diagnostics"] is not None


def test_fewer_images_than_latent_domains_is_named(folder, attempt):
    for domain in DOMAINS:
        shutil.rmtree(folder / domain / CLASSES[2])
        for name in CLASSES[:2]:
            for image in sorted((folder / domain / name).iterdir())[2:]:
                image.unlink()
    assert_refused(attempt("LDPF", "TRAINER.LDPF.N_S", 6, "DATALOADER.TRAIN_X.BATCH_SIZE", 2), "TRAINER.LDPF.N_S", "6")


def test_batch_norm_needs_more_than_one_image(attempt):
    assert_refused(attempt("SPG", "DATALOADER.TRAIN_X.BATCH_SIZE", 1), "DATALOADER.TRAIN_X.BATCH_SIZE", "1")
