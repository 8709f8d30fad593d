"""SIGKILL at any moment costs at most a rerun: the same numbers, and nothing left behind."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from helpers.mini_runs import arguments, small_mini_world

CHECKOUT = Path(__file__).parents[3]
KILLS = int(os.environ.get("KILLS", "20"))  # of the slow test, for each way of running

RUN = """
import sys
from promptshift.launch.jobs import Job
from promptshift.launch.local import Runner
from promptshift.runs.config import build_cfg, config_hash
from promptshift.paths import load_plugins
from pathlib import Path
load_plugins()
argv = sys.argv[1:]
folder = Path(argv[argv.index("--output-dir") + 1])
cfg, _ = build_cfg(argv)
job = Job("job", tuple(argv), folder, ("row", "column"), 1, config_hash(cfg))
print("started", flush=True)
sys.exit(len(Runner([job]).run()))
"""


def start(root, folder, trainer, *options):
    """The launcher with one job of `trainer`, in a session of its own."""
    words = arguments(root, folder, trainer, "TRAIN.CHECKPOINT_FREQ", 1, *options)
    environment = {**os.environ, "OUTPUT": str(folder.parent / "output"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *words],
        cwd=CHECKOUT,
        env={**environment, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def children(parent):
    """Ids of the processes that a process started."""
    answer = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False)
    return [int(word) for word in answer.stdout.split()]


def kill_after(process, seconds, whom):
    """Kills the launcher, its job or both after some time; the job ends by itself where only the launcher is killed."""
    time.sleep(seconds)
    jobs = children(process.pid)
    victims = {"launcher": [process.pid], "job": jobs, "both": [process.pid, *jobs]}[whom]
    for victim in victims:
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait(120)
    return jobs if whom == "launcher" else []


def wait_for_end(pids):
    end = time.monotonic() + 120
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.1)


def finish(root, folder, trainer, *options):
    """Runs the same command until the job is finished; workers of a killed job hold its lock for a few seconds."""
    for _ in range(20):
        assert start(root, folder, trainer, *options).wait(300) in (0, 1)
        if (folder / "result.json").is_file():
            return json.loads((folder / "result.json").read_text())
        time.sleep(1)
    raise AssertionError("the run does not end")


def outcome(record):
    return record["metrics"], record["history"], record["config_hash"]


def assert_clean_and_consistent(root, folder):
    leftovers = [*folder.parent.rglob(".tmp-*"), *root.glob(".mini*")]
    assert not leftovers
    last = torch.load(folder / "last.pth.tar", weights_only=True)
    for place in folder.glob("*/checkpoint"):
        newest = torch.load(place.parent / place.read_text().strip(), weights_only=True)
        assert newest["epoch"] == last["epoch"]
        for name, value in newest["state_dict"].items():
            assert torch.equal(value, last["models"][place.parent.name]["state_dict"][name])


def killed_and_finished(tmp_path, trainer, kills, seed, *options):
    """Compares a run that is killed `kills` times, mostly in the middle, with one that is not."""
    root, rng = small_mini_world(tmp_path / "data", per_class=2), random.Random(seed)
    begun = time.monotonic()
    whole = finish(root, tmp_path / "whole" / "run", trainer, *options)
    duration = time.monotonic() - begun
    for number in range(kills):
        folder = tmp_path / f"kill{number}" / "run"
        process = start(root, folder, trainer, *options)
        wait_for_end(kill_after(process, rng.uniform(0.3, 1.0) * duration, rng.choice(["launcher", "job", "both"])))
        assert outcome(finish(root, folder, trainer, *options)) == outcome(whole)
        assert_clean_and_consistent(root, folder)


WAYS = {
    "CoOp": (),
    "CoOp, images read by workers": (
        *("DATALOADER.NUM_WORKERS", 2, "DATALOADER.TRAIN_X.FEATURE_VIEWS", 0, "TEST.FEATURE_CACHE", False),
    ),
    "MaPLe": ("DATALOADER.TRAIN_X.FEATURE_VIEWS", 0),
    "PromptSRC": ("DATALOADER.TRAIN_X.FEATURE_VIEWS", 0),
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("way", WAYS)
def test_many_kills_leave_equal_results_and_nothing_behind(tmp_path, way):
    killed_and_finished(tmp_path, way.partition(",")[0], KILLS, way, *WAYS[way])
