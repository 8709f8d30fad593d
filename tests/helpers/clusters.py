"""Protocols on clusters: the same command with every launcher, and what their folders say afterwards."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
# CoOp on the mini world, some epochs that read images, so that there is time for accidents
WORDS = (
    "run multi_source CoOp mini --seeds 1 OPTIM.MAX_EPOCH 4 DATALOADER.TRAIN_X.FEATURE_VIEWS 0 "
    "DATALOADER.TRAIN_X.BATCH_SIZE 8 TRAIN.PRINT_FREQ 1"
).split()
JOBS = 4


def start(data, output, *words, **environment):
    """A driver as a process of its own; its lines go to OUTPUT/driver.log, behind those of earlier ones."""
    output.mkdir(parents=True, exist_ok=True)
    with open(output / "driver.log", "a") as log:
        return subprocess.Popen(
            [sys.executable, "promptshift", *WORDS, *words],
            cwd=CHECKOUT,
            env={**os.environ, "DATA": str(data), "OUTPUT": str(output), "OMP_NUM_THREADS": "1", **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def log_of(output):
    return (output / "driver.log").read_text()


def table(output):
    """The rows of the table of a finished plan."""
    (path,) = output.glob("multi_source/CoOp/*/*/*/table.csv")
    return list(csv.reader(path.read_text().splitlines()))


def runs(output):
    """The folders of the plan's runs that there are so far."""
    return sorted(output.glob("multi_source/CoOp/*/*/*/*/seed1"))


def times_finished(folder):
    """How often training came to its end in a folder."""
    return sum(log.read_text().count("Finish training") for log in folder.glob("log.txt*"))


def wait_until(true, seconds=600):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.5)


def has_trained_an_epoch(output):
    """Whether some run has written its state and not its result."""
    return any((run / "last.pth.tar").exists() and not (run / "result.json").exists() for run in runs(output))
