"""Configuration files that bear the name of a public one hold its values (released_yaml.json says which and where)."""

import json
from pathlib import Path

import pytest

from dassl.config import get_cfg_default, merge_opts
from promptshift.paths import checkout, load_plugins
from promptshift.runs.config import extend_cfg, flatten

RELEASED = json.loads((Path(__file__).parent / "goldens" / "released_yaml.json").read_text())
# What the released code sets elsewhere, so that its file does not say what it trains with.
ELSEWHERE = {
    "TRAINER.PROMPTKD.KD_WEIGHT": "the released scripts pass 1000 on their command lines",
    "TRAINER.PROMPTKD.CE_WEIGHT": "the released trainer reads it nowhere",
    "TEST.FINAL_MODEL": "the released best_val chooses on the test images (its val is its test)",
}


def merged(*pairs, path=None):
    cfg = get_cfg_default()
    extend_cfg(cfg)
    if path:
        cfg.merge_from_file(str(path))
    merge_opts(cfg, list(pairs), source="test")
    return flatten(cfg)


@pytest.mark.parametrize("name", RELEASED)
def test_a_file_of_a_public_name_has_the_public_values(name):
    load_plugins()
    values = RELEASED[name]["values"]
    known = merged()
    pairs = [word for key, value in values.items() if key in known for word in (key, value)]
    theirs, ours = merged(*pairs), merged(path=checkout() / "configs" / "trainers" / f"{name}.yaml")
    differ = {key: (ours[key], theirs[key]) for key in values if key in known and ours[key] != theirs[key]}
    assert not {key: pair for key, pair in differ.items() if key not in ELSEWHERE}, RELEASED[name]["source"]
