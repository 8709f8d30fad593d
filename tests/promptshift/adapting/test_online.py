"""Online trainers on a small mini world: the stream's order, what a kill costs, what is refused, files as a stream."""

import json
import shutil

import pytest
import torch

from dassl.utils.errors import UserError
from helpers.mini_runs import arguments
from promptshift.adapting import online
from promptshift.adapting.online import OnlineTrainer, stream_order
from promptshift.adapting.trainer import AdaptingTrainer
from promptshift.runs.config import build_cfg
from promptshift.runs.reopen import reopen
from promptshift.runs.run import main
from trainers.tda import TDA


@pytest.fixture
def words(small_world, tmp_path, monkeypatch):
    """words(*options, folder, seed) -> arguments of a TDA run on 40 images, 16 encoded together."""
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))

    def make(*options, folder="run", seed=1):
        options = ("TEST.TTA_BATCH", 16, *options)
        return arguments(small_world, tmp_path / folder, "TDA", *options, seed=seed)

    return make


@pytest.fixture
def streamed(words, tmp_path):
    """streamed(*options, folder, seed) -> result.json and the answers of a run that must succeed."""

    def run(*options, folder="run", **kwargs):
        assert main(words(*options, folder=folder, **kwargs)) == 0
        return json.loads((tmp_path / folder / "result.json").read_text()), answers(tmp_path / folder)

    return run


def answers(folder):
    lines = (folder / "stream.jsonl").read_text().splitlines()[1:]
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


class Killed(BaseException):
    pass


def kill_before(monkeypatch, place):
    """The run dies when it is about to answer the image at `place` of the stream."""
    answer = TDA.answer

    def dying(self, memory, features, logits, at):
        if at == place:
            raise Killed
        return answer(self, memory, features, logits, at)

    monkeypatch.setattr(TDA, "answer", dying)


def test_the_order_is_the_seed_s_and_recorded(streamed):
    record, first = streamed(folder="one")
    _, other = streamed(folder="two", seed=2)
    names = [answer["image"] for answer in first]
    assert sorted(names) == sorted(answer["image"] for answer in other) and len(set(names)) == 40
    assert names != sorted(names) and names != [answer["image"] for answer in other]
    stream = record["diagnostics"]["stream"]
    assert stream["seed"] == 1 and stream["first"] == names[:5] and len(stream["order"]) == 16
    by_image = [{answer["image"]: answer["entropy_after"] for answer in run} for run in (first, other)]
    assert by_image[0] != by_image[1]  # the answers depend on what came before


def test_the_order_depends_on_names_alone():
    names = [f"domain/class/{i}.jpg" for i in range(20)]
    order = [names[i] for i in stream_order(names, 3)]
    assert order == [names[::-1][i] for i in stream_order(names[::-1], 3)]
    assert order != [names[i] for i in stream_order(names, 4)]


def test_the_accuracy_is_that_of_the_stream_s_answers(streamed, tmp_path):
    record, lines = streamed()
    labels = json.loads((tmp_path / "run" / "classes.json").read_text())
    right = sum(labels.index(answer["image"].split("/")[-2]) == answer["top"][0] for answer in lines)
    assert right == record["metrics"]["correct"] and record["metrics"]["total"] == 40


def test_how_many_are_encoded_together_changes_no_number(streamed):
    (one, first), (other, second) = streamed(folder="a"), streamed("TEST.TTA_BATCH", 7, folder="b")
    assert one["metrics"] == other["metrics"] and one["config_hash"] == other["config_hash"]
    for a, b in zip(first, second, strict=True):
        assert a["top"][0] == b["top"][0] and a["entropy_after"] == pytest.approx(b["entropy_after"], abs=1e-4)


@pytest.mark.parametrize("every", [1, 256])  # images between two writings of the memory
@pytest.mark.parametrize("place", [3, 20, 38])
def test_a_stream_that_was_killed_goes_on_with_the_memory_that_it_had(
    streamed, words, tmp_path, monkeypatch, capsys, every, place
):
    monkeypatch.setattr(online, "KEPT_EVERY", every)
    whole, expected = streamed(folder="whole")
    with monkeypatch.context() as patched:
        kill_before(patched, place)
        with pytest.raises(Killed):
            main(words(folder="cut"))
    done = place // 16 * 16
    assert len(answers(tmp_path / "cut")) == done
    with open(tmp_path / "cut" / "stream.jsonl", "ab") as file:
        file.write(b'{"image": "mini_dg/ima')  # it died while it wrote
    capsys.readouterr()
    again, found = streamed(folder="cut")
    assert found == expected and again["metrics"] == whole["metrics"]
    if done:
        kept = done if every == 1 else 0
        assert f"behind {done} of 40 images, its memory behind {kept}" in capsys.readouterr().out
    own, theirs = (
        online._kept(tmp_path / name / "stream.safetensors", about(tmp_path / name)) for name in ("cut", "whole")
    )
    assert own[1] == theirs[1] == 40 and own[0].keys() == theirs[0].keys()
    assert all(torch.equal(own[0][key], theirs[0][key]) for key in own[0])


def about(folder):
    header = json.loads((folder / "stream.jsonl").read_text().splitlines()[0])
    return str(sorted(header.items()))


def test_a_damaged_memory_costs_time_and_no_number(streamed, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(online, "KEPT_EVERY", 1)
    whole, expected = streamed(folder="whole")
    with monkeypatch.context() as patched:
        kill_before(patched, 35)
        with pytest.raises(Killed):
            main(words(folder="cut"))
    path = tmp_path / "cut" / "stream.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    again, found = streamed(folder="cut")
    assert "is unreadable; the images are seen again" in capsys.readouterr().out
    assert found == expected and again["metrics"] == whole["metrics"]


def test_a_memory_of_other_settings_is_not_taken(streamed, tmp_path):
    streamed(folder="a")
    expected = streamed("TRAINER.TDA.POSITIVE.ALPHA", 1.5, folder="b")
    (tmp_path / "c").mkdir()
    for name in ("stream.safetensors", "stream.jsonl"):
        (tmp_path / "c" / name).write_bytes((tmp_path / "a" / name).read_bytes())
    assert streamed("TRAINER.TDA.POSITIVE.ALPHA", 1.5, folder="c")[1] == expected[1]


def test_shards_are_refused_with_the_reason(words):
    assert OnlineTrainer.online and not getattr(AdaptingTrainer, "online", False)
    cfg = build_cfg(words())[0]
    cfg.defrost()
    cfg.TEST.SHARDS = 1
    TDA.check_options(cfg)
    cfg.TEST.SHARDS = 2
    with pytest.raises(UserError, match="TEST.SHARDS: 2; allowed with TDA: 1, for its answer.*before it"):
        TDA.check_options(cfg)


def test_files_are_a_stream_in_the_given_order(streamed, tmp_path, small_world):
    streamed()
    trainer = reopen(tmp_path / "run")
    paths = [str(path) for path in sorted((small_world / "mini_dg" / "images" / "sketch").rglob("*.png"))]
    forwards, backwards = (torch.stack(list(trainer.file_probabilities(order))) for order in (paths, paths[::-1]))
    torch.testing.assert_close(
        forwards[:5], torch.stack(list(trainer.file_probabilities(paths[:5]))), atol=1e-5, rtol=0
    )
    assert (forwards - backwards.flip(0)).abs().max() > 1e-3


def test_several_views_are_read_and_the_confident_ones_looked_at(streamed):
    record, lines = streamed("TRAINER.TDA.VIEWS", 10, "TRAINER.TDA.CONFIDENT", 0.3)
    assert record["diagnostics"]["views"] == 10 and record["diagnostics"]["kept_views"] == 3
    assert all(len(answer["kept"]) == 3 for answer in lines)


def test_an_unreadable_image_is_wrong_and_leaves_the_memory_alone(words, tmp_path, small_world):
    root = tmp_path / "data"
    shutil.copytree(small_world, root)
    broken = sorted((root / "mini_dg" / "images" / "sketch" / "apple").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:40])
    argv = words()
    argv[argv.index("--root") + 1] = str(root)
    assert main(argv) == 0
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["diagnostics"]["unreadable"] == 1 and record["metrics"]["total"] == 40
    assert sum("problem" in answer for answer in answers(tmp_path / "run")) == 1
