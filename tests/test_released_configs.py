"""Configuration files that bear the name of a public one hold its values (released_yaml.json says which and where)."""

import json
from pathlib import Path

import pytest
import yaml

from dassl.config import get_cfg_default, merge_opts
from dassl.utils.errors import UserError
from promptshift.paths import checkout, load_plugins
from promptshift.runs.config import build_cfg, extend_cfg, flatten

GOLDENS = Path(__file__).parent / "goldens"
RELEASED = json.loads((GOLDENS / "released_yaml.json").read_text())
RELEASED_DG = json.loads((GOLDENS / "released_dg_yaml.json").read_text())  # its files, and what they train there
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


@pytest.mark.parametrize("name", RELEASED_DG)
def test_a_released_file_of_spg_or_dpspg_trains_what_the_released_code_trains(name, tmp_path):
    path, row = written(tmp_path, RELEASED_DG[name]["values"]), RELEASED_DG[name]
    cfg = flatten(dg_cfg(name.partition("/")[0], path))
    assert {key: cfg[key] for key in row["trains"]} == row["trains"], row["source"]


@pytest.mark.parametrize("trainer", ("SPG", "DPSPG"))
def test_optimizer_of_the_command_line_and_values_of_a_file_win_over_released_ones(trainer, tmp_path):
    assert dg_cfg(trainer, written(tmp_path, {"OPTIM.NAME": "sgd"}), "OPTIM.NAME", "sgd").OPTIM.NAME == "sgd"
    own = {"OPTIM.NAME": "adam", "OPTIM.WEIGHT_DECAY": 0.5, "TEST.FINAL_MODEL": "last_step"}
    cfg = dg_cfg(trainer, written(tmp_path, own))
    assert (cfg.OPTIM.NAME, cfg.OPTIM.WEIGHT_DECAY, cfg.TEST.FINAL_MODEL) == ("adam", 0.5, "last_step")


@pytest.mark.parametrize(
    "words, allowed",
    [(("LATE", 3), "below 3"), (("LATE", 2, "TRAINER.DPSPG.EARLY", 2), "below 2"), (("LATE", 9), "below 3")],
)
def test_a_late_start_of_validation_that_leaves_no_epoch_is_refused(tmp_path, words, allowed):
    key, *rest = words
    with pytest.raises(UserError, match=f"TRAINER.DPSPG.LATE: .*{allowed}"):
        dg_cfg("DPSPG", written(tmp_path, {"OPTIM.MAX_EPOCH": 3}), f"TRAINER.DPSPG.{key}", *rest)
    assert dg_cfg("DPSPG", written(tmp_path, {"OPTIM.MAX_EPOCH": 3}), "TRAINER.DPSPG.LATE", 2).TRAINER.DPSPG.LATE == 2


def written(folder, values):
    """A YAML file with dotted keys as blocks."""
    content = {}
    for key, value in values.items():
        *blocks, name = key.split(".")
        node = content
        for block in blocks:
            node = node.setdefault(block, {})
        node[name] = value
    path = folder / "released.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def dg_cfg(trainer, path, *options):
    dataset = str(checkout() / "configs" / "datasets" / "pacs.yaml")
    argv = ["--trainer", trainer, "--dataset-config-file", dataset, "--config-file", str(path), "--backbone", "RN50"]
    return build_cfg([*argv, *map(str, options)])[0]
