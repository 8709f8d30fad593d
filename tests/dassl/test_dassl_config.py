"""Configuration: defaults, and merging with errors of one line."""

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
