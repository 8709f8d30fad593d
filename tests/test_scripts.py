"""The shell scripts: valid in sh and bash, runnable from any directory, arguments passed on unchanged."""

import os
import stat
import subprocess
import textwrap
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((CHECKOUT / "scripts").rglob("*.sh"))
NAMES = [str(path.relative_to(CHECKOUT)) for path in SCRIPTS]
PROTOCOL_SCRIPTS = [name for name in NAMES if name != "scripts/protocol.sh"]


@pytest.fixture
def call(tmp_path):
    """Runs a script with a stand-in for Python that prints its folder, variables and arguments."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(textwrap.dedent("""\
        #!/bin/sh
        echo "$PWD|${OUTPUT:-}|${SEEDS:-}"
        for word in "$@"; do echo "$word"; done
    """))
    python.chmod(python.stat().st_mode | stat.S_IXUSR)

    def run(shell, name, *words, cwd=tmp_path, **environment):
        variables = {key: value for key, value in os.environ.items() if key not in ("DATA", "OUTPUT", "SEEDS", "CFG")}
        return subprocess.run(
            [shell, str(CHECKOUT / name), *words], cwd=cwd, capture_output=True, text=True, check=False,
            env={**variables, "PYTHON": str(python), **environment},
        )  # fmt: skip

    return run


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_scripts_parse_and_stop_at_the_first_error(path, shell):
    subprocess.run([shell, "-n", str(path)], check=True)
    assert "set -eu" in path.read_text() and os.access(path, os.X_OK)


@pytest.mark.parametrize("name", PROTOCOL_SCRIPTS)
def test_scripts_are_three_working_lines(name):
    lines = [line for line in (CHECKOUT / name).read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 4


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_arguments_and_folders_arrive_unchanged(call, tmp_path, shell):
    answer = call(shell, "scripts/dpspg/main.sh", "mini", "KEY", "two words", OUTPUT="results")
    place, *words = answer.stdout.splitlines()
    assert words == ["-m", "promptshift.protocols", "multi_source", "DPSPG", "mini", "KEY", "two words"]
    assert place == f"{CHECKOUT}|{tmp_path}/results|"


def test_a_relative_interpreter_and_an_absolute_output_are_kept(call, tmp_path):
    answer = call("sh", "scripts/dpspg/main.sh", "mini", PYTHON="bin/python", OUTPUT="/somewhere")
    assert answer.stdout.startswith(f"{CHECKOUT}|/somewhere|"), answer.stderr


def test_each_script_names_its_protocol(call):
    expected = {
        "scripts/coop/main.sh": "coop_main mini",
        "scripts/dpspg/main.sh": "multi_source DPSPG mini",
        "scripts/zsclip/main.sh": "multi_source ZeroshotCLIP mini",
        "scripts/spg/single_source.sh": "single_source SPG mini",
        "scripts/dpl/cross_dataset.sh": "cross_dataset DPLCLIP mini",
    }
    for name, words in expected.items():
        assert call("sh", name, "mini").stdout.split()[1:] == ["-m", "promptshift.protocols", *words.split()]
    assert call("sh", "scripts/zsclip/main.sh", "mini").stdout.splitlines()[0].endswith("|1")
    assert call("sh", "scripts/zsclip/main.sh", "mini", SEEDS="2 3").stdout.splitlines()[0].endswith("|2 3")


@pytest.mark.parametrize("name", [name for name in NAMES if "source.sh" in name or "cross_dataset" in name])
def test_the_paper_s_single_seed_settings_take_other_seeds_too(call, name):
    place, _, _, protocol, trainer, dataset = call("sh", name, "mini").stdout.splitlines()
    assert place.endswith("|1") and protocol == Path(name).stem and dataset == "mini"
    assert (CHECKOUT / "configs" / "trainers" / trainer).is_dir()
    assert call("sh", name, "mini", SEEDS="2 3").stdout.splitlines()[0].endswith("|2 3")


def test_zeroshot_takes_coops_two_arguments(call):
    words = call("sh", "scripts/zsclip/zeroshot.sh", "pacs", "rn50").stdout.split()[3:]
    assert words == ["zero_shot", "ZeroshotCLIP", "pacs", "--config", "CoOp/rn50"]
    answer = call("sh", "scripts/zsclip/zeroshot.sh", "pacs")
    assert answer.returncode == 2 and answer.stderr.startswith("error: ") and answer.stderr.count("\n") == 1


def test_a_failing_run_makes_the_script_fail(call, tmp_path):
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\nexit 1\n")
    failing.chmod(0o755)
    assert call("sh", "scripts/dpspg/main.sh", "mini", PYTHON=str(failing)).returncode == 1
