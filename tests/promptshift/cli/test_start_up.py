"""What a command loads: PyTorch takes seconds, so that only commands that compute import it."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
SLOW = ("torch", "torchvision", "open_clip", "matplotlib", "scipy", "sklearn", "tensorboard")
LOADED = f"print('loaded:', *(name for name in {SLOW} if name in sys.modules), file=sys.stderr)"


def loaded(program, *words, **options):
    """The slow libraries that a program has imported when it ends."""
    code = f"import sys\ntry:\n    {program}\nexcept SystemExit:\n    pass\n{LOADED}"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=CHECKOUT, capture_output=True, text=True, check=True, **options
    )
    assert done.stdout or not words
    return done.stderr.splitlines()[-1].split()[1:]


def test_importing_the_package_loads_nothing_slow():
    assert loaded("import promptshift") == []


@pytest.mark.parametrize("line", ["--help", "list", "report --help", "run --help", "data list", "status"])
def test_commands_that_compute_nothing_load_nothing_slow(line, tmp_path):
    words = [*line.split(), str(tmp_path)] if line == "status" else line.split()
    assert loaded("from promptshift.cli import main; main()", *words) == []


def test_trainers_need_torch_alone():
    """Image libraries and CLIP's own are imported where images are read and weights loaded."""
    assert loaded("from promptshift.paths import load_plugins; load_plugins()") == ["torch"]


def test_an_earlier_form_of_a_command_still_runs():
    command = [sys.executable, "-m", "promptshift.list", "protocol"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert "base_to_new" in done.stdout
