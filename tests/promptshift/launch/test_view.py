"""What a driver shows on a terminal: a table of the running jobs below its lines; elsewhere lines alone."""

import os
import pty
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
RUN = """
import sys, time
from pathlib import Path
from promptshift.launch.jobs import lock
from promptshift.launch.view import View
folder = Path(sys.argv[1])
job = type("Job", (), {"name": "sketch [red] seed 1", "output_dir": folder})
with lock(folder, "GPU 3"), View([job, job]) as view:
    (folder / "job.log").write_text("epoch [2/5] batch [1/3] loss 0.5 (0.4321) acc 50 (61.25) lr 1 eta 0:01:10\\n")
    view.say("start  sketch [red] seed 1")
    view.started([job])
    view.refresh()
    view.settled(job, "done   sketch [red] seed 1: 50.00 %")
"""


def test_a_terminal_has_a_live_table(tmp_path):
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", RUN, str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
    process = subprocess.Popen(words, stdout=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert process.wait(60) == 0
    text = shown.decode()
    for word in ("0 of 2 jobs settled, 1 running", "2/5", "0.4321", "61.25", "0:01:10", "GPU 3", "sketch [red] seed 1"):
        assert word in text, word


def test_elsewhere_there_are_lines_alone(tmp_path):
    words = [sys.executable, "-c", RUN, str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["start  sketch [red] seed 1", "done   sketch [red] seed 1: 50.00 %"]
