"""parse_test_res.py on the logs of this project and of upstream's."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.result_records import make_record
from promptshift.results.parse_logs import main
from promptshift.results.record import write_result

CHECKOUT = Path(__file__).resolve().parents[1]

LOG = """\
epoch [5/5] batch [20/20] time 0.123 (0.150) data 0.001 (0.010) loss 1.2 (1.3) acc 75.0000 (70.1234) lr 1.0e-05
* accuracy: 11.1%
{end}
Deploy the last-epoch model
Evaluate on the *val* set
=> result
* total: 2,465
* accuracy: 22.2%
Evaluate on the *test* set
=> result
* total: 2,465
* correct: 2,317
* accuracy: {accuracy}%
* error: 6.0%
* macro_f1: {f1}%
Elapsed: 0:01:02
"""


def write_log(folder, accuracy, end="Finish training", name="log.txt", f1="90.0"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(LOG.format(accuracy=accuracy, end=end, f1=f1))


def summary(capsys, *argv):
    assert main([str(word) for word in argv]) == 0
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("* ")][-1]


@pytest.mark.parametrize("end", ["Finish training", "Finished training"])
def test_mean_and_population_std_with_either_end_line(tmp_path, capsys, end):
    for seed, accuracy in enumerate(("94.0", "95.37", "91.2"), start=1):
        write_log(tmp_path / f"seed{seed}", accuracy, end)
    values = [94.0, 95.37, 91.2]
    assert summary(capsys, tmp_path) == f"* accuracy: {np.mean(values):.2f}% +- {np.std(values):.2f}%"
    interval = 1.96 * np.std(values) / np.sqrt(3)
    assert summary(capsys, tmp_path, "--ci95") == f"* accuracy: {np.mean(values):.2f}% +- {interval:.2f}%"
    assert summary(capsys, tmp_path, "--keyword", "macro_f1") == "* macro_f1: 90.00% +- 0.00%"


def test_lines_before_the_end_signal_do_not_count(tmp_path, capsys):
    write_log(tmp_path / "seed1", "94.0", end="Start training")
    assert main([str(tmp_path)]) == 2
    assert "nothing found" in capsys.readouterr().err
    assert summary(capsys, tmp_path, "--test-log") == "* accuracy: 94.00% +- 0.00%"


def test_the_newest_log_with_a_result_counts(tmp_path, capsys):
    write_log(tmp_path / "seed1", "50.0")
    write_log(tmp_path / "seed1", "60.0", name="log.txt-2024-01-02-03-04-05")
    write_log(tmp_path / "seed1", "70.0", name="log.txt-2024-11-02-03-04-05")
    assert summary(capsys, tmp_path) == "* accuracy: 70.00% +- 0.00%"
    (tmp_path / "seed1" / "log.txt-2025-01-01-00-00-00").write_text("epoch [1/5]\n")
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "accuracy: 70.00% (newer log.txt-2025-01-01-00-00-00 has no result)" in out


def test_result_json_gives_full_precision_and_says_so(tmp_path, capsys):
    write_log(tmp_path / "seed1", "66.7")
    write_result(tmp_path / "seed1", make_record(metrics={"accuracy": 200 / 3, "error_rate": 100 / 3}))
    write_log(tmp_path / "seed2", "66.0")
    assert main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"file: {tmp_path}/seed1/result.json. accuracy: 66.67% (full precision)" in lines
    assert f"file: {tmp_path}/seed2/log.txt. accuracy: 66.00%" in lines
    assert f"* accuracy: {(200 / 3 + 66) / 2:.2f}% +- 0.33%" in lines
    assert summary(capsys, tmp_path / "seed1", "--keyword", "error") == "* error: 33.33% +- 0.00%"


def test_unfinished_runs_are_named_and_counted(tmp_path, capsys):
    write_log(tmp_path / "seed1", "80.0")
    (tmp_path / "seed2").mkdir()
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"missing: {tmp_path / 'seed2'}" in out and "(1 of 2 runs)" in out


def test_several_experiments_are_averaged(tmp_path, capsys):
    for name, accuracies in {"art": ("80.0", "82.0"), "photo": ("90.0", "90.0")}.items():
        for seed, accuracy in enumerate(accuracies):
            write_log(tmp_path / name / f"seed{seed}", accuracy)
    (tmp_path / "table.md").write_text("a table")
    assert summary(capsys, tmp_path, "--multi-exp") == "* accuracy: 85.50%"


@pytest.mark.parametrize("flags", [[], ["--multi-exp"], ["--test-log"]])
@pytest.mark.parametrize("name", ["empty", "absent"])
def test_nothing_found_is_one_line_naming_the_folder(tmp_path, capsys, flags, name):
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / name), *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and str(tmp_path / name) in error


def test_the_script_itself_runs_from_the_checkout(tmp_path):
    write_log(tmp_path / "seed1", "94.0")
    command = [sys.executable, "parse_test_res.py", str(tmp_path)]
    answer = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert "* accuracy: 94.00% +- 0.00%" in answer.stdout.splitlines()


def test_an_unreadable_result_is_named_and_the_others_are_averaged(tmp_path, capsys):
    for seed in (1, 2, 3):
        write_result(tmp_path / f"seed{seed}", make_record(metrics={"accuracy": 50.0 + seed}))
    (tmp_path / "seed2" / "result.json").write_text("[" * 200_000)
    assert main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("corrupt: ") and str(tmp_path / "seed2" / "result.json") in line]
    assert "* accuracy: 52.00% +- 1.00%" in lines and "2 of 3 runs" in lines[-3]
