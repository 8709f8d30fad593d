"""Configuration: defaults, and merging with errors of one line."""

import time

import pytest
from yacs.config import CfgNode as CN

from dassl.config import clean_cfg, get_cfg_default, merge_file, merge_opts
from dassl.utils.errors import UserError


def merge_text(tmp_path, text, **kwargs):
    cfg = get_cfg_default()
    path = tmp_path / "run.yaml"
    path.write_text(text)
    merge_file(cfg, str(path), **kwargs)
    return cfg


def test_defaults_are_upstreams_and_fresh_each_time():
    cfg = get_cfg_default()
    assert (cfg.SEED, cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.WEIGHT_DECAY) == (-1, "adam", 0.0003, 5e-4)
    assert (cfg.INPUT.SIZE, cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.TEST.FINAL_MODEL) == ((224, 224), 32, "last_step")
    cfg.OPTIM.LR = 1.0
    assert get_cfg_default().OPTIM.LR == 0.0003


def test_clean_cfg_keeps_only_the_trainers_own_block():
    cfg = get_cfg_default()
    clean_cfg(cfg, "FixMatch")
    assert set(cfg.TRAINER) == {"NAME", "FIXMATCH"}


def test_values_take_the_type_of_the_default(tmp_path):
    cfg = merge_text(
        tmp_path,
        "OPTIM:\n  LR: 1\n  WEIGHT_DECAY: 1e-3\nINPUT:\n  SIZE: [48, 48]\n  RRCROP_SCALE: (0.5, 1.0)\nDATALOADER:\n",
    )
    assert cfg.OPTIM.LR == 1.0 and isinstance(cfg.OPTIM.LR, float)
    assert cfg.OPTIM.WEIGHT_DECAY == 1e-3
    assert cfg.INPUT.SIZE == (48, 48) and cfg.INPUT.RRCROP_SCALE == (0.5, 1.0)
    merge_opts(cfg, ["DATASET.SOURCE_DOMAINS", "['a', 'b']", "DATASET.NAME", "123", "SEED", "0", "USE_CUDA", "False"])
    assert cfg.DATASET.SOURCE_DOMAINS == ("a", "b") and cfg.DATASET.NAME == "123"
    assert cfg.SEED == 0 and cfg.USE_CUDA is False


@pytest.mark.parametrize(
    "text, words",
    [
        ("OPTIM:\n  LRR: 0.1\n", ["OPTIM.LRR", "0.1", "did you mean 'OPTIM.LR'?", "run.yaml"]),
        ("OPTIM:\n  MAX_EPOCH: many\n", ["OPTIM.MAX_EPOCH", "many", "int", "run.yaml"]),
        ("SEED: true\n", ["SEED", "int", "True"]),
        ("OPTIM: 3\n", ["OPTIM", "group", "MAX_EPOCH"]),
        ("OPTIM: [1\n", ["run.yaml", "not valid YAML"]),
        ("- a\n- b\n", ["run.yaml", "list"]),
    ],
)
def test_a_bad_file_is_one_line_that_names_key_value_and_file(tmp_path, text, words):
    with pytest.raises(UserError) as error:
        merge_text(tmp_path, text)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_missing_config_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.yaml"):
        merge_file(get_cfg_default(), str(tmp_path / "nowhere.yaml"))


def test_pairs_must_be_pairs():
    with pytest.raises(UserError, match="command line.*'SEED' stands alone"):
        merge_opts(get_cfg_default(), ["OPTIM.LR", "1", "SEED"])


def test_aliases_rename_keys_and_whole_blocks(tmp_path):
    aliases = {"TRAINER.OLD": "TRAINER.NEW", "GAIN": "TRAINER.NEW.ALPHA"}
    cfg = get_cfg_default()
    cfg.TRAINER.NEW = CN({"ALPHA": 0.5, "N": 1})
    path = tmp_path / "old.yaml"
    path.write_text("TRAINER:\n  OLD:\n    N: 4\n")
    merge_file(cfg, str(path), aliases=aliases)
    merge_opts(cfg, ["GAIN", "0.2"], aliases=aliases)
    assert cfg.TRAINER.NEW == {"ALPHA": 0.2, "N": 4}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi")
)
HOSTILE = {
    "deep mapping": "{a: " * 2000 + "1" + "}" * 2000,
    "deep list": "SEED: " + "[" * 100_000,
    "alias bomb": BOMB + "SEED: *i\n",
    "merged aliases": "a: &a {x: 1}\nOPTIM: {<<: [" + ", ".join(["*a"] * 60_000) + "]}\n",
    "mapping in itself": "&a OPTIM: &b {x: *b}\n",
    "list in itself": "SEED: &b [*b]\n",
    "text as a number": "SEED: !!int foo\n",
    "text as a truth value": "TRAINER: !!bool maybe\n",
    "no date": "SEED: 2024-13-45\n",
    "no time": "SEED: !!timestamp now\n",
    "many digits": "SEED: " + "9" * 5000 + "\n",
    "many sixties": "SEED: 1" + ":59" * 50_000 + "\n",
    "a large number": "SEED: 0x" + "f" * 90 + "\n",
    "a long document": "SEED: " + "x" * 1_000_000,
    "a long key": "? " + "x" * 100_000 + "\n: 1\n",
    "a mapping for a number": "OPTIM: {LR: {a: 1}}\n",
    "an empty mapping for a number": "OPTIM: {LR: {}}\n",
    "nothing for a number": "OPTIM:\n  LR:\n",
    "nothing for a text": "OUTPUT_DIR: ~\n",
    "nothing for a list": "INPUT: {SIZE: null}\n",
    "an object": "SEED: !!python/object/apply:os.getcwd []\n",
    "a list as key": "? [a]\n: 1\n",
    "two documents": "SEED: 1\n---\nSEED: 2\n",
    "a control character": "SEED: \0\n",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_no_configuration_holds_is_one_short_line_within_a_second(tmp_path, case):
    start = time.perf_counter()
    with pytest.raises(UserError) as error:
        merge_text(tmp_path, HOSTILE[case])
    assert time.perf_counter() - start < 1
    message = str(error.value)
    assert "run.yaml" in message and "\n" not in message and len(message) < 500


def test_anchors_that_stay_small_are_read(tmp_path):
    cfg = merge_text(tmp_path, "INPUT: {PIXEL_MEAN: &same [0.1, 0.2, 0.3], PIXEL_STD: *same}\n")
    assert cfg.INPUT.PIXEL_STD == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    "key, value",
    [
        ("OPTIM.LR", "{[]: 1}"),
        ("SEED", "-" * 3000 + "1"),
        ("SEED", "-" * 200_000 + "1"),
        ("SEED", "(" * 10_000),
        ("SEED", "0x" + "f" * 5000),
        ("OPTIM.LR", "9" * 4000),
        ("OPTIM.LR", 10**400),
        ("SEED", "1+2j"),
        ("SEED", None),
        ("SEED", "None"),
        ("OUTPUT_DIR", "None"),
        ("USE_CUDA", None),
        ("x" * 100_000, "1"),
    ],
)
def test_a_word_that_is_no_value_is_one_short_line(key, value):
    with pytest.raises(UserError) as error:
        merge_opts(get_cfg_default(), [key, value])
    message = str(error.value)
    assert message.startswith("command line: ") and key[:20] in message and "\n" not in message and len(message) < 500


def test_a_key_that_is_nothing_by_default_takes_any_plain_value():
    for word, value in (("text", "text"), ("3", 3), ("[1, 2]", [1, 2]), ("None", None)):
        cfg = CN({"KEY": None})
        merge_opts(cfg, ["KEY", word])
        assert cfg.KEY == value
    with pytest.raises(UserError, match="KEY"):
        merge_opts(CN({"KEY": None}), ["KEY", "{1: 2}"])


def test_the_merge_knows_where_each_value_came_from(tmp_path):
    sources = {}
    cfg = merge_text(tmp_path, "OPTIM: {LR: 0.1, MAX_EPOCH: 3}\n", sources=sources)
    merge_opts(cfg, ["OPTIM.LR", "0.2"], sources=sources)
    assert sources == {"OPTIM.LR": "command line", "OPTIM.MAX_EPOCH": str(tmp_path / "run.yaml")}
