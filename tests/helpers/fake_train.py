"""Stands in for train.py: writes a result without training. Standard library only, so that it starts at once.

--output-dir says where; FAKE names a JSON file with "record" (the result to write) and "plan", a map from a part
of the output folder's path to what such a job does: {"accuracy": 50.0}, {"crash": "text"}, {"exit": 3}, {"sleep": 60}.
"""

import json
import os
import sys
import time
from pathlib import Path

argv = sys.argv[1:]
folder = Path(argv[argv.index("--output-dir") + 1])
fake = json.loads(Path(os.environ["FAKE"]).read_text())
todo = {}
for part, behaviour in fake["plan"].items():
    if part in str(folder):
        todo.update(behaviour)
(folder / "log.txt").write_text("a log\n")
seen = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
with open(folder / "starts", "a") as starts:
    starts.write(json.dumps(seen) + "\n")
if "sleep" in todo:
    print("sleeping", flush=True)
    time.sleep(todo["sleep"])
if "crash" in todo:
    print("epoch 1\n" + todo["crash"], file=sys.stderr)
    sys.exit(1)
if "exit" in todo:
    sys.exit(todo["exit"])
record = {**fake["record"], "metrics": {"accuracy": todo.get("accuracy", 50.0)}}
if "--seed" in argv:
    record["seed"] = int(argv[argv.index("--seed") + 1])
(folder / "result.json").write_text(json.dumps(record))
