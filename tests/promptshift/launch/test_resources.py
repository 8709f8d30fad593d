"""What a launcher asks for: the file, a user's file over it, words over both; one line for what is wrong."""

import pytest

from dassl.utils.errors import UserError
from promptshift.cli import main
from promptshift.launch.local import Local
from promptshift.launch.resources import Choice, resources, split_launch_words


def test_words_win_over_a_file_of_the_users_and_that_over_ours(tmp_path):
    (tmp_path / "mine.yaml").write_text("TIME: 600\nPARTITION: long\nSETUP: [module load cuda]\n")
    asked = resources("slurm", str(tmp_path / "mine.yaml"), ["LAUNCH.TIME", "20", "LAUNCH.QOS", "7"])
    assert (asked["TIME"], asked["PARTITION"], asked["QOS"]) == (20, "long", "7")
    assert asked["SETUP"] == ["module load cuda"] and asked["GPUS"] == resources("slurm")["GPUS"] == 1
    assert resources("ray", words=["LAUNCH.GPUS", "0.25"])["GPUS"] == 0.25
    assert resources("local") == {} and isinstance(Choice().make(), Local)


@pytest.mark.parametrize(
    ("launcher", "words", "named"),
    [
        ("slurm", ["LAUNCH.TIME", "10"], ("LAUNCH.TIME", "10", "at least 11")),
        ("slurm", ["LAUNCH.TIME", "4:00:00"], ("LAUNCH.TIME", "at least 11")),
        ("slurm", ["LAUNCH.GPUS", "0.5"], ("LAUNCH.GPUS", "0.5", "whole numbers")),
        ("slurm", ["LAUNCH.CPUS", "true"], ("LAUNCH.CPUS", "True")),
        ("slurm", ["LAUNCH.PARTITON", "x"], ("LAUNCH.PARTITON", "did you mean 'PARTITION'")),
        ("ray", ["LAUNCH.TIME", "30"], ("LAUNCH.TIME", "ray")),
        ("ray", ["LAUNCH.GPUS", "-1"], ("LAUNCH.GPUS", "-1")),
        ("ray", ["LAUNCH.GPUS", "]["], ("LAUNCH.GPUS", "][")),
        ("local", ["LAUNCH.GPUS", "1"], ("LAUNCH.GPUS", "JOBS")),
        ("pbs", [], ("unknown launcher 'pbs'", "slurm")),
    ],
)
def test_what_a_launcher_does_not_take_is_one_line(launcher, words, named):
    with pytest.raises(UserError) as error:
        resources(launcher, words=words)
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in named)


def test_a_file_that_is_wrong_is_named(tmp_path):
    for text in ("TIME: 5", "TIME: 4:00:00", "- TIME", "HOURS: 3"):
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(UserError, match="mine.yaml") as error:
            resources("slurm", str(tmp_path / "mine.yaml"))
        assert "\n" not in str(error.value)


def test_keys_of_the_launcher_are_taken_out_of_the_words():
    words = ["mini", "RN50", "LAUNCH.TIME", "30", "OPTIM.LR", "0.1"]
    assert split_launch_words(words) == (["mini", "RN50", "OPTIM.LR", "0.1"], ["LAUNCH.TIME", "30"])
    with pytest.raises(UserError, match="LAUNCH.TIME"):
        split_launch_words(["mini", "LAUNCH.TIME"])


@pytest.mark.parametrize("command", ["run multi_source CoOp mini", "study alpha mini"])
def test_commands_refuse_a_wrong_launcher_before_anything_runs(command, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    monkeypatch.setenv("LAUNCHER", "slrm")
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "slrm" in error
    monkeypatch.setenv("LAUNCHER", "slurm")
    assert main([*command.split(), "LAUNCH.TIME", "5"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "LAUNCH.TIME" in error and not list(tmp_path.iterdir())
