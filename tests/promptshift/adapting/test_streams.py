"""Streams of a small mini world: what stops goes on, batches and order change no number, starts and answers agree."""

import json
import shutil

import pytest
import torch

from dassl.engine import build_trainer
from promptshift.adapting.trainer import AdaptingTrainer
from promptshift.runs.config import build_cfg, config_hash
from promptshift.runs.run import main


def answers(folder):
    lines = (folder / "stream.jsonl").read_text().splitlines()[1:]
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def test_the_size_of_batches_changes_no_number(adapted, tmp_path, adapting):
    one = adapted("PromptSync", "TRAINER.PROMPTSYNC.DISCRIMINATE", 10, folder="one")
    other = adapted("PromptSync", "TRAINER.PROMPTSYNC.DISCRIMINATE", 10, "TEST.TTA_BATCH", 7, folder="other")
    assert one["config_hash"] == other["config_hash"] and one["metrics"] == other["metrics"]
    for a, b in zip(answers(tmp_path / "one"), answers(tmp_path / "other")):
        assert a["top"][0] == b["top"][0] and a["kept"] == b["kept"]
        assert a["entropy_after"] == pytest.approx(b["entropy_after"], abs=1e-4)
    assert one["diagnostics"]["discriminations"] == 4  # before images 0, 10, 20, 30
    assert one["diagnostics"]["discrimination_after"] < one["diagnostics"]["discrimination_before"]


@pytest.mark.parametrize("trainer, options", [("TPT", ()), ("PromptSync", ("TRAINER.PROMPTSYNC.DISCRIMINATE", 10))])
def test_a_stream_that_was_ended_goes_on_without_losing_or_repeating_an_image(
    trainer, options, adapted, adapting, tmp_path, monkeypatch, capsys
):
    whole = adapted(trainer, *options, folder="whole")

    class Killed(BaseException):
        pass

    step, calls = AdaptingTrainer.adapt, []

    def dying(self, views):
        calls.append(len(views))
        if len(calls) == 3:
            raise Killed
        return step(self, views)

    with monkeypatch.context() as patched:
        patched.setattr(AdaptingTrainer, "adapt", dying)
        with pytest.raises(Killed):
            main(adapting(trainer, *options, folder="cut"))
    done = sum(calls[:2])
    with open(tmp_path / "cut" / "stream.jsonl", "ab") as file:
        file.write(b'{"image": "mini_dg/ima')  # it died while it wrote
    again = adapted(trainer, *options, folder="cut")
    assert f"resumes after {done} of 40 images" in capsys.readouterr().out
    assert again["metrics"] == whole["metrics"]
    assert answers(tmp_path / "cut") == answers(tmp_path / "whole")
    different = {key for key, value in whole["diagnostics"].items() if again["diagnostics"][key] != value}
    assert different <= {"seconds_per_image"}


def test_views_are_those_of_the_image_whatever_its_place_and_worker(adapting, tmp_path):
    from dassl.data.data_manager import DatasetWrapper
    from promptshift.adapting.stream import StreamViews, view_loader

    built = build_trainer(build_cfg(adapting("TPT"))[0])
    items, root = built.test_loader.dataset.data_source, built.cfg.DATASET.ROOT
    views = StreamViews(DatasetWrapper(built.cfg, items, built.view_transform()), root, 1, False)
    shuffled = StreamViews(DatasetWrapper(built.cfg, items[::-1], built.view_transform()), root, 1, False)
    expected = torch.stack([views[i]["views"] for i in (0, 3, 4)])
    torch.testing.assert_close(torch.stack([shuffled[39 - i]["views"] for i in (0, 3, 4)]), expected, atol=0, rtol=0)
    first, second = view_loader(views, [[0, 3], [4]], workers=2)
    torch.testing.assert_close(torch.cat([first["views"], second["views"]]), expected, atol=0, rtol=0)
    state = torch.get_rng_state()
    views[5]
    assert torch.equal(torch.get_rng_state(), state)
    reseeded = StreamViews(views.images, root, 2, False)[0]["views"]
    torch.testing.assert_close(reseeded[0], expected[0, 0], atol=0, rtol=0)  # the clean view
    assert (reseeded[1:] - expected[0, 1:]).abs().max() > 0.1


def test_another_start_begins_the_stream_anew(adapted, tmp_path, capsys):
    adapted("TPT", folder="a")
    other = adapted("TPT", "TRAINER.TPT.PROMPT", "CoOp", folder="b")
    assert other["diagnostics"]["start_run"].endswith(tuple("0123456789abcdef"))
    shutil.copy(tmp_path / "a" / "stream.jsonl", tmp_path / "b" / "stream.jsonl")
    capsys.readouterr()
    again = adapted("TPT", "TRAINER.TPT.PROMPT", "CoOp", folder="b")
    assert "is of other images, prompts or settings" in capsys.readouterr().out
    assert again["metrics"] == other["metrics"]


def test_an_unreadable_image_is_reported_and_wrong_or_stops_a_strict_run(
    small_world, adapted, not_adapted, tmp_path, capsys
):
    root = tmp_path / "data"
    shutil.copytree(small_world, root)
    broken = sorted((root / "mini_dg" / "images" / "sketch" / "apple").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:40])
    record = adapted("TPT", root=root)
    assert f"unreadable, counted as wrong: cannot read image {broken}" in capsys.readouterr().out
    assert record["diagnostics"]["unreadable"] == 1 and record["metrics"]["total"] == 40
    assert sum("problem" in answer for answer in answers(tmp_path / "run")) == 1
    line = not_adapted("TPT", "TEST.STRICT", True, root=root, folder="strict")
    assert str(broken) in line and "TEST.STRICT" in line


def test_settings_of_the_stream_do_not_count_as_configuration(adapting):
    plain = build_cfg(adapting("TPT"))[0]
    other = build_cfg(adapting("TPT", "TEST.TTA_BATCH", 5, "TEST.STRICT", True))[0]
    assert config_hash(plain) == config_hash(other)
    assert config_hash(plain) != config_hash(build_cfg(adapting("TPT", "TRAINER.TPT.VIEWS", 9))[0])


def test_a_named_run_an_evaluation_and_a_stage_give_the_same_numbers(adapted, tmp_path):
    stage = adapted("PromptAlign", folder="stage")
    start = stage["diagnostics"]["start_run"]
    named = adapted("PromptAlign", "TRAINER.PROMPTALIGN.START.RUN", start, folder="named")
    evaluated = adapted("PromptAlign", folder="evaluated", flags=("--eval-only", "--model-dir", start))
    assert named["metrics"] == stage["metrics"] == evaluated["metrics"]
    assert answers(tmp_path / "evaluated") == answers(tmp_path / "stage")
    assert evaluated["diagnostics"]["start_run"] == start
    for folder in ("stage", "evaluated"):
        assert (tmp_path / folder / "prototypes.safetensors").is_file()
        assert (tmp_path / folder / "MultiModalPromptLearner" / "model-best.pth.tar").is_file()


def test_files_are_answered_as_in_the_stream_from_the_run_s_folder_alone(adapted, tmp_path, small_world, capsys):
    from promptshift.cli.predict import main as predict

    adapted("PromptSync")
    shutil.copytree(tmp_path / "run", tmp_path / "moved")
    shutil.rmtree(tmp_path / "run")
    lines = [answer for answer in answers(tmp_path / "moved")][:3]
    capsys.readouterr()
    images = [str(small_world / answer["image"]) for answer in lines]
    assert predict(["--run", str(tmp_path / "moved"), "--topk", "1", *images]) == 0
    names = json.loads((tmp_path / "moved" / "classes.json").read_text())
    printed = capsys.readouterr().out.strip().splitlines()
    assert [line.split("\t")[1].split(" ")[0] for line in printed] == [names[answer["top"][0]] for answer in lines]
