"""Installing: what a wheel holds, and that it works from an empty folder without the checkout."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel's content, built from what the source distribution would hold."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(CHECKOUT, source, ignore=shutil.ignore_patterns(".*", "output", "build", "data", "tests"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel)], check=True)
    return folder / "site"


@pytest.fixture
def promptshift(installed, tmp_path):
    """promptshift(*words) -> the finished process of the installed command, run in an empty folder."""
    kept = {key: value for key, value in os.environ.items() if key not in ("DATA", "OUTPUT", "SEEDS", "DRY_RUN")}

    def run(*words):
        return subprocess.run(
            [installed / "bin" / "promptshift", *words],
            cwd=tmp_path,
            env={**kept, "PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_nothing_but_our_two_packages_is_at_the_top(installed):
    """A top-level `datasets` or `clip` would hide other packages."""
    top = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert top == {"promptshift", "dassl", "bin"}


def test_everything_is_listed(promptshift, installed):
    done = promptshift("list")
    assert done.returncode == 0, done.stderr
    rows = {tuple(line.split()[:2]) for line in done.stdout.splitlines()}
    here = {("config", str(path.relative_to(CHECKOUT / "configs").with_suffix(""))) for path in CONFIGS}
    assert here <= rows and {("trainer", "DPC"), ("dataset", "PACS"), ("paper", "CoOp"), ("protocol", "xd")} <= rows


CONFIGS = list((CHECKOUT / "configs").rglob("*.yaml"))


def test_a_plan_names_the_package_s_files_and_the_current_folder(promptshift, installed, tmp_path):
    done = promptshift("run", "multi_source", "DPSPG", "mini", "--seeds", "1", "--dry-run")
    assert done.returncode == 0, done.stderr
    stage, *_, command = done.stdout.splitlines()[1::2]
    assert "--stage labels:" in stage and f"--output-dir {tmp_path}/output/prompt_labels/" in stage
    assert command.startswith(f"promptshift train --root {tmp_path}/data ")
    assert f"--config-file {installed}/promptshift/_house/configs/trainers/DPSPG/mini.yaml" in command
    assert f"--output-dir {tmp_path}/output/multi_source/DPSPG/" in command


def test_a_report_of_nothing_is_one_line(promptshift, tmp_path):
    (tmp_path / "empty").mkdir()
    done = promptshift("report", "empty")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("error: no run")


def test_a_protocol_runs_from_start_to_table(promptshift, tmp_path):
    done = promptshift("run", "multi_source", "ZeroshotCLIP", "mini", "--seeds", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(path.read_text()) for path in (tmp_path / "output").rglob("result.json")]
    assert len(records) == 4 and {record["git_hash"] for record in records} == {None}
    assert f"{records[0]['metrics']['accuracy']:.2f}" in done.stdout
    assert "4 runs (4 done)" in promptshift("status").stdout


def test_a_script_of_the_package_runs_it(installed, tmp_path):
    """Where the scripts are installed, they call the installed package."""
    script = installed / "promptshift" / "_house" / "scripts" / "zsclip" / "main.sh"
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(installed), "DRY_RUN": "1"}
    done = subprocess.run(
        ["sh", script, "mini"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.count("promptshift train --root ") == 4, done.stderr
