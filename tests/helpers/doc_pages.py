"""The pages of the documentation: their commands and their code, and what a command line asks Python for."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
_PROGRAMS = ("bash", "promptshift", "python", "make")
_STAND_IN = """\
#!{python} -IS
import json, os, sys
kept = {{key: os.environ[key] for key in ("DATA", "OUTPUT", "SEEDS", "JOBS", "CFG", "LAUNCHER") if key in os.environ}}
with open({record!r}, "a") as file:
    print(json.dumps([os.path.basename(sys.argv[0]), sys.argv[1:], kept]), file=file)
"""


def blocks(page, language):
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", Path(page).read_text(), re.S | re.M)


def without_blocks(page):
    """The page's text less its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", Path(page).read_text(), flags=re.S | re.M)


def commands(page):
    """Every line of the bash blocks, continued lines as one, and the inline commands that are complete."""
    lines = [line for block in blocks(page, "bash") for line in block.replace("\\\n", " ").splitlines()]
    spans = re.findall(r"`((?:[A-Z]+=\S+ )*(?:bash scripts/|promptshift )[^`]*)`", without_blocks(page))
    lines += [span for span in spans if len(span.split()) > 2 and "..." not in span and "<" not in span]
    lines = [re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines]
    return list(dict.fromkeys(filter(None, lines)))


def calls_of(line, folder):
    """[(program, words, environment)] that the shell makes of a line; scripts run, programs are stand-ins in `folder`.

    Raises:
        AssertionError: the line is of a kind that no test knows how to run.
    """
    words = shlex.split(line, comments=True)
    program, *rest = [word for i, word in enumerate(words) if "=" not in word or any("=" not in w for w in words[:i])]
    assert program in _PROGRAMS and (program != "bash" or rest[0].startswith("scripts/")), f"unknown kind: {line}"
    record = folder / "calls.jsonl"
    for name in _PROGRAMS[1:]:
        stand_in = folder / "bin" / name
        stand_in.parent.mkdir(exist_ok=True)
        stand_in.write_text(_STAND_IN.format(python=sys.executable, record=str(record)))
        stand_in.chmod(0o755)
    dropped = ("DATA", "OUTPUT", "SEEDS", "JOBS", "CFG", "GPUS", "SOURCE", "LAUNCHER", "LAUNCH_CONFIG")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    environment = {
        **kept,
        "HOME": str(folder),
        "PYTHON": str(folder / "bin" / "python"),
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    answer = subprocess.run(
        ["bash", "-c", line], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert record.is_file(), f"nothing was called by: {line}"
    return [json.loads(call) for call in record.read_text().splitlines()]
