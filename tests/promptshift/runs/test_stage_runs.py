"""Stages: made by themselves or by the run that needs them, found again, and never those of other data."""

import json

import pytest

from helpers.mini_runs import arguments
from promptshift.runs.config import build_cfg, config_hash
from promptshift.runs.run import main
from promptshift.runs.stage_runs import as_in, planned_folder
from promptshift.runs.stages import configuration, declared, needed, walk

pytestmark = pytest.mark.usefixtures("checkout_and_output")
FIRST = ("OPTIM.MAX_EPOCH", 1)


def results(folder):
    return {path.parent: path.stat().st_mtime_ns for path in folder.rglob("result.json")}


def staged(argv, name):
    """The words that make one stage of a run alone."""
    at = argv.index("--output-dir")
    return [*argv[:at], "--stage", name, *argv[at:]]


def test_a_stage_is_made_alone_and_found_by_the_run_that_needs_it(train, small_world, tmp_path, capsys):
    whole = train("DPSPG", *FIRST, folder="whole", root=small_world)
    labels = tmp_path / "output" / "prompt_labels"
    labels.rename(tmp_path / "first")
    argv = arguments(small_world, tmp_path / "run", "DPSPG", *FIRST)
    cfg = build_cfg(argv)[0]
    assert [stage.name for stage in needed(cfg)] == ["labels:art_painting", "labels:cartoon", "labels:photo"]
    for stage in needed(cfg):
        assert main(staged(argv, stage.name)) == 0
    assert not (tmp_path / "run").exists() and len(made := results(labels)) == 3
    folders = {planned_folder(configuration(cfg, stage), stage) for stage in needed(cfg)}
    assert folders == set(made)  # a plan knows them without the data
    assert main(argv) == 0 and results(labels) == made
    again = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (again["metrics"], again["history"]) == (whole["metrics"], whole["history"])


def test_a_stage_that_does_not_exist_is_one_line(small_world, tmp_path, capsys):
    argv = arguments(small_world, tmp_path / "run", "DPSPG")
    assert main(staged(argv, "labels:potho")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --stage: ") and "did you mean 'labels:photo'" in line
    assert main(staged(arguments(small_world, tmp_path / "run", "CoOp"), "labels")) == 2
    assert "allowed: none" in capsys.readouterr().err


def test_stages_of_earlier_versions_and_of_other_data_are_told_apart(train, small_world, mini_root, tmp_path):
    labels = tmp_path / "output" / "prompt_labels"
    train("DPSPG", *FIRST, folder="a", root=small_world)
    cfg = build_cfg(arguments(small_world, tmp_path / "a", "DPSPG", *FIRST))[0]
    earlier = []
    for stage in needed(cfg):  # named after the data too
        made = configuration(cfg, stage)
        folder = planned_folder(made, stage)
        named = folder.with_name(f"{folder.name[:-8]}{config_hash(as_in(folder, made))[:8]}")
        assert named != folder
        folder.rename(named)
        assert planned_folder(made, stage) == named
        earlier.append(named)
    before = results(labels)
    train("DPSPG", *FIRST, folder="b", root=small_world)
    assert results(labels) == before and set(before) == set(earlier)
    train("DPSPG", *FIRST, folder="c", root=mini_root)  # other images take the places that are free,
    assert len(results(labels)) == 6
    others = {when for folder, when in results(labels).items() if folder not in earlier}
    for folder in earlier:
        folder.rename(tmp_path / folder.name)
    train("DPSPG", *FIRST, folder="d", root=small_world)  # and are put aside there, not lost, for those that come back
    after = results(labels)
    assert len(after) == 6 and others < set(after.values())


@pytest.mark.parametrize(
    "block, trainer, family, options",
    [
        ("DPC", "DPC", "BACKBONE", {"RUN": "r", "EPOCH": 3, "CONFIG": "mini"}),
        ("PROMPTKD", "PromptKD", "TEACHER", {"RUN": "r", "CONFIG": "mini"}),
    ],
)
def test_every_trainer_has_the_keys_of_a_start(block, trainer, family, options, tmp_path, monkeypatch):
    (tmp_path / "r").mkdir()
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    argv = ["--trainer", trainer, "--dataset-config-file", "configs/datasets/mini_b2n.yaml", "--backbone", "mini"]
    options = options | {"RUN": str(tmp_path / "r")}
    words = {
        prefix: [word for key, value in options.items() for word in (f"TRAINER.{block}.{prefix}{key}", str(value))]
        for prefix in ("START.", f"{family}_")
    }
    new, old = (build_cfg([*argv, *words[prefix]])[0] for prefix in words)
    assert new == old
    (stage,) = declared(new)
    assert (stage.run, stage.config, stage.epoch) == (options["RUN"], "mini", options.get("EPOCH", 0))
    assert not needed(new)  # the named run is there already


def test_a_stage_of_a_stage_comes_before_it():
    argv = ["--trainer", "DPC", "--dataset-config-file", "configs/datasets/mini_b2n.yaml", "--backbone", "mini"]
    found = list(walk(build_cfg([*argv, "TRAINER.DPC.BACKBONE", "PromptKD"])[0]))
    assert [path for path, *_ in found] == ["backbone/teacher", "backbone"]
    assert [cfg.TRAINER.NAME for *_, cfg in found] == ["PromptSRC", "PromptKD"]
    assert found[0][2].MODEL.BACKBONE.NAME == "mini_large" and found[1][2].MODEL.BACKBONE.NAME == "mini"
