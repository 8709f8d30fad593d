"""Defaults against the released values: tests/goldens/defaults.json, trainer x key."""

import json
from pathlib import Path

import pytest

from dassl.config.options import block, options_of
from dassl.engine import TRAINER_REGISTRY
from promptshift.paths import load_plugins
from promptshift.runs.public_files.public_blocks import PUBLIC_BLOCKS

load_plugins()
TABLE = json.loads((Path(__file__).parents[1] / "goldens" / "defaults.json").read_text())
OURS = sorted({TRAINER_REGISTRY.get(name).__name__ for name in TRAINER_REGISTRY.registered_names()})
PUBLIC = {"COOP": "CoOp", "COCOOP": "CoCoOp", "MAPLE": "MaPLe", "IVLP": "IVLP", "VPT": "VPT", "PROMPTSRC": "PromptSRC"}


def defaults_of(trainer):
    return {key: option.default for key, option in options_of(TRAINER_REGISTRY.get(trainer).DEFAULTS).items()}


def expected(row):
    return row["ours"] if "ours" in row else row["released"]


@pytest.mark.parametrize(
    "trainer", [name for name in OURS if TRAINER_REGISTRY.get(name).__module__.startswith("trainers")]
)
def test_defaults_are_the_released_ones_but_for_named_deviations(trainer):
    wanted = {key: expected(row) for key, row in TABLE[trainer].items()}
    assert defaults_of(trainer) == wanted


def test_every_deviation_says_what_it_deviates_from_and_why():
    for trainer, rows in TABLE.items():
        for key, row in rows.items():
            assert ("ours" in row) == bool(row.get("reason")) and ("released" in row) == bool(row.get("source")), key
            if "ours" in row and "released" in row:
                assert (type(row["ours"]), row["ours"]) != (type(row["released"]), row["released"]), (trainer, key)


@pytest.mark.parametrize("name", PUBLIC)
def test_foreign_trainer_files_find_the_released_values(name):
    released = {key: row["released"] for key, row in TABLE[PUBLIC[name]].items() if "released" in row}
    assert dict(block(PUBLIC_BLOCKS[name])) == released


def test_foreign_files_of_promptkd_and_promptalign_too():
    for name, trainer in (("PROMPTKD", "PromptKD"), ("PROMPTALIGN", "PromptAlign")):
        found = dict(block(PUBLIC_BLOCKS[name]))
        released = {key: TABLE[trainer][key]["released"] for key in found}
        assert found == released | ({"TEACHER_NAME": "ViT-L/14"} if name == "PROMPTKD" else {})


@pytest.mark.parametrize("trainer", OURS)
def test_every_default_is_a_value_that_its_key_allows(trainer):
    declared = getattr(TRAINER_REGISTRY.get(trainer), "DEFAULTS", {})
    for key, option in options_of(declared).items():
        assert option.fits(option.default), key
