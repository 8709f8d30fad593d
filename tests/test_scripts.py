"""The shell scripts: valid in sh and bash, runnable from any directory; what each asks for is planned for real."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from promptshift.cli import main
from promptshift.runs.config import build_cfg

CHECKOUT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((CHECKOUT / "scripts").rglob("*.sh"))
NAMES = [str(path.relative_to(CHECKOUT / "scripts")) for path in SCRIPTS]
VARIABLES = ("DATA", "OUTPUT", "SEEDS", "CFG", "SOURCE", "WEIGHTS", "DRY_RUN", "JOBS", "GPUS")


@pytest.fixture
def call(tmp_path):
    """call(shell, script, *words, cwd, **environment): a script whose Python prints SEEDS and its words, one a line."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho "${SEEDS-}"\nfor word in "$@"; do echo "$word"; done\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)

    def run(shell, name, *words, cwd=tmp_path, **environment):
        variables = {key: value for key, value in os.environ.items() if key not in VARIABLES}
        return subprocess.run(
            [shell, str(CHECKOUT / "scripts" / name), *words],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            env={**variables, "PYTHON": str(python), **environment},
        )

    return run


@pytest.fixture
def answer(call, monkeypatch, capsys, tmp_path):
    """answer(script, *words, **environment) -> (status, out, err) of what the script hands to Python, run right here.

    DRY_RUN is 1 and SEEDS is 1, unless the script or the environment says otherwise.
    """

    def run(name, *words, **environment):
        environment = {"DRY_RUN": "1", "OUTPUT": "output", "DATA": str(tmp_path), **environment}
        handed_over = call("sh", name, *words, **{"SEEDS": "1", **environment})
        assert handed_over.returncode == 0, handed_over.stderr
        seeds, program, *argv = handed_over.stdout.splitlines()
        assert program == str(CHECKOUT / "promptshift")
        for key in VARIABLES:
            monkeypatch.delenv(key, raising=False)
        for key, value in {**environment, "SEEDS": seeds}.items():
            monkeypatch.setenv(key, value)
        monkeypatch.chdir(tmp_path)
        status = main(argv)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def plan(answer, tmp_path):
    """plan(script, *words, **environment) -> the jobs of its dry run, each a dict of flags and keys, "state" too."""

    def planned(*words, **environment):
        status, out, err = answer(*words, **environment)
        assert status == 0, err
        lines = out.splitlines()
        return [Planned(*pair, tmp_path / "output") for pair in zip(lines[::2], lines[1::2])]

    return planned


class Planned:
    """One job of a dry run: its command line and what stands in it."""

    def __init__(self, state, command, output):
        assert state.startswith("# ") and command.startswith("python train.py --root ")
        self.state, self.argv = state.split(": ")[-1], command.split()[2:]
        self.folder = Path(self["--output-dir"]).relative_to(output)
        self.config = Path(self["--config-file"]).stem

    def __getitem__(self, word):
        """What follows a flag or a key; the last one counts."""
        return self.argv[len(self.argv) - self.argv[::-1].index(word)]


def test_print(plan):
    for name in NAMES:
        words = {"step.sh": "base2new_train CoOp default dtd 1"}.get(name)
        stem = Path(name).stem
        if words is None:
            if name == "promptshift.sh": words = "run main CoOp mini"
            elif name == "protocol.sh": words = "multi_source CoOp mini"
            elif name == "test_time.sh": words = "TPT default A 1"
            elif name == "cocoop/xd_train.sh": words = "1"
            elif stem in ("ablation_few_shot", "ablation_trade_off"): words="mini_b2n"
            elif "ablation" in stem: words="mini"
            elif "reproduce" in stem:
                for f in ("seed1", "base/seed1", "4shot/seed1"): os.makedirs(os.path.join(os.environ.get("TMPW","/tmp/cli/w"), f), exist_ok=True)
                words="dtd 4 /tmp/cli/w" if "few" in stem else "dtd 1 /tmp/cli/w"
            elif "few_shot" in stem: words="dtd 4"
            elif "eval" in stem or "zeroshot" in stem: words="dtd rn50"
            elif "base2new" in stem or "xd_" in stem or "palign" in stem: words="dtd 1"
            else: words="mini"
        try:
            jobs = plan(name, *words.split(), SEEDS="1 2" if "variability" in name else "1")
        except AssertionError as e:
            print("FAIL", name, words, str(e)[:200]); continue
        print(name, "|", words, "|", len(jobs), sorted({j["--trainer"] for j in jobs}), sorted({j["PROTOCOL"] for j in jobs}), jobs[0].folder, jobs[-1].folder, jobs[-1].config)
