"""A thousand jobs that do nothing, through Slurm: prints the driver's own seconds, and those of a rerun."""

import json
import os
import resource
import sys
import time
from pathlib import Path

from yacs.config import CfgNode

from helpers.result_records import make_record
from promptshift.launch.driver import Driver
from promptshift.launch.jobs import Call, Job
from promptshift.launch.resources import resources
from promptshift.launch.slurm import Slurm
from promptshift.runs.config import config_hash

CFG = CfgNode({"SEED": 1})
COPY = 'while [ "$1" != --output-dir ]; do shift; done; cp "$RECORD" "$2/result.json"'


def own_seconds():
    """Processor time of this process and of the commands that it waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


def make_jobs(folder, number):
    """Jobs of one configuration in folders of their own."""
    files = (Path("data"), "CoOp", Path("dataset.yaml"), Path("trainer.yaml"))
    folders = [folder / "runs" / str(i) / "seed1" for i in range(number)]
    return [Job(f"job {i}", Call(*files, place, 1), ("row", str(i)), CFG) for i, place in enumerate(folders)]


def main(folder):
    record = folder / "record.json"
    record.write_text(json.dumps({"schema_version": 1, **make_record(config_hash=config_hash(CFG))}))
    os.environ["RECORD"] = str(record)
    jobs = make_jobs(folder, 1000)
    command = ["sh", "-c", COPY, "sh"]
    asked = resources("slurm", words=["LAUNCH.GPUS", "0", "LAUNCH.JOBS_PER_GPU", os.environ.get("PACKED", "20")])
    asked |= {"CPUS": 0, "MEMORY": 0}  # whatever the cluster gives an allocation
    began = own_seconds()
    assert Driver(jobs, Slurm(asked, command)).run() == []
    own = own_seconds() - began
    began = time.perf_counter()
    assert Driver(jobs, Slurm(asked, command)).run() == []
    print(own, time.perf_counter() - began)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
