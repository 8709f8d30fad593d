"""One look before the first job: one line for one cause, nothing started, nothing written."""

import re
import shutil
import time

import pytest

from dassl.utils.errors import UserError
from helpers.protocol_plans import plan_of
from promptshift.cli import main
from promptshift.launch import preflight


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    """Folders of the test's own, no network, OpenAI's weights of ViT-B/16 and RN50 in place."""
    for name in ("DATA", "OUTPUT", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("SEEDS", "CFG", "DRY_RUN", "GPUS", "JOBS", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(preflight, "_answers", lambda links: False)
    cache = tmp_path / "home" / ".cache" / "clip"
    cache.mkdir(parents=True)
    (cache / "ViT-B-16.pt").touch()
    return tmp_path


def images(folder, names=("a.jpg",)):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize(
    "words, named",
    [
        ("multi_source CoOp pacs", "PACS: no images of .*no network"),
        ("base_to_new CoOp dtd,eurosat", "DescribableTextures: no .*no network"),
        ("multi_source CoOp pacs DATASET.DOWNLOAD False", "DATASET.DOWNLOAD is False"),
        ("multi_source CoOp mini --config default MODEL.BACKBONE.NAME mini", "INPUT.SIZE.*'mini'.*48.*CFG=mini"),
        ("multi_source CoOp mini ViT-B/16", "INPUT.SIZE.*ViT-B/16.*224.*CFG=default"),
        ("multi_source CoOp pacs RN101", "RN101.*not at .*RN101.pt"),
        ("multi_source CoOp pacs MODEL.BACKBONE.PATH /nowhere/clip.pt", "MODEL.BACKBONE.PATH: no such file"),
    ],
)
def test_a_plan_that_cannot_run_is_one_line_before_any_job(places, capfd, words, named):
    start = time.process_time()
    assert main(["run", *words.split()]) == 2
    out, err = capfd.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1 and out == ""
    assert re.search(named, err), err
    assert not (places / "output").exists() and time.process_time() - start < 10


def test_weights_may_be_a_folder(places):
    (places / "clip").mkdir()
    words = ["multi_source", "CoOp", "mini", "MODEL.BACKBONE.NAME", "mini", "MODEL.BACKBONE.PATH", str(places / "clip")]
    with pytest.raises(UserError, match="MODEL.BACKBONE.PATH: the folder .* holds no weights"):
        preflight.look(plan_of(*words).jobs)
    (places / "clip" / "model.safetensors").touch()
    assert preflight.look(plan_of(*words).jobs) == []


def test_a_network_that_answers_leaves_downloads_to_the_jobs(monkeypatch, places):
    jobs = plan_of("multi_source", "CoOp", "pacs").jobs
    monkeypatch.setattr(preflight, "_answers", lambda links: True)
    assert preflight.look(jobs) == []


def test_half_a_dataset_is_said(places):
    for domain in ("art_painting", "cartoon", "photo", "sketch"):
        images(places / "data" / "PACS" / "images" / domain / "dog")
    (line,) = preflight.look(plan_of("multi_source", "CoOp", "pacs").jobs)
    assert "4 images" in line and "9,991" in line


def test_a_full_disk_is_said_before_any_job(monkeypatch, places):
    for domain in ("art_painting", "cartoon", "photo", "sketch"):
        images(places / "data" / "PACS" / "images" / domain / "dog")
    usage = shutil.disk_usage(places)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=10**6))
    with pytest.raises(Exception, match="OUTPUT: .* MiB are free .*set OUTPUT"):
        preflight.look(plan_of("multi_source", "CoOp", "pacs").jobs)


def test_the_embedded_world_needs_nothing(places):
    assert preflight.look(plan_of("multi_source", "CoOp", "mini").jobs) == []


def test_a_dry_run_calls_what_others_left_no_failure(places, capsys):
    plan = plan_of("multi_source", "CoOp", "pacs", seeds=(1,))
    for job in plan.jobs[:1]:
        job.output_dir.mkdir(parents=True)
        (job.output_dir / "log.txt").write_text("* accuracy: 90.0%\n")
    assert main("run multi_source CoOp pacs --seeds 1 --dry-run".split()) == 0
    first, second = capsys.readouterr().out.splitlines()[:3:2]
    assert first.endswith("not started (its folder holds a run of another repository)")
    assert second.endswith(": not started")


def test_addresses_that_nobody_answers(monkeypatch):
    monkeypatch.undo()
    assert not preflight._answers(["https://nowhere.invalid/file.zip", "", "no address"])
