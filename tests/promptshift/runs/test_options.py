"""What a merged configuration may hold, whoever declares the key; and what trainers fill in."""

import pytest
from yacs.config import CfgNode as CN

from dassl.config import get_cfg_default
from dassl.config.options import whole
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from promptshift.runs.config import build_cfg, extend_cfg
from promptshift.runs.options import complete, trainer_options

DATA = ["--dataset-config-file", "configs/datasets/mini_b2n.yaml"]
MINI = ["--trainer", "CoOp", *DATA, "--config-file", "configs/trainers/CoOp/mini.yaml"]


@pytest.fixture
def registered():
    """registered(cls) puts a trainer class into the registry for the length of a test."""
    added = []

    def register(cls):
        added.append(TRAINER_REGISTRY.register(cls))
        return cls

    yield register
    for cls in added:
        del TRAINER_REGISTRY._obj_map[cls.__name__]


@pytest.mark.parametrize(
    "trainer, key, value",
    [
        ("CoOp", "TRAINER.COOP.N_CTX", "0"),
        ("CoOp", "TRAINER.COOP.CLASS_TOKEN_POSITION", "begin"),
        ("CoOp", "DATALOADER.TRAIN_X.FEATURE_VIEWS", "-1"),
        ("CoOp", "TEST.EVAL_FREQ", "0"),
        ("CoOp", "TEST.TTA_BATCH", "-1"),
        ("CoOp", "MODEL.TEXT_CHUNK", "0"),
        ("SPG", "TRAINER.SPG.NOISE_SAMPLES", "0"),
        ("SPG", "TRAINER.SPG.TRAIN_SHARE", "1.5"),
        ("DPSPG", "TRAINER.DPSPG.LABELS.BATCH_SIZE", "0"),
        ("DPSPG", "TRAINER.DPSPG.GENERATOR", "gan"),
        ("LDPF", "TRAINER.LDPF.N_S", "none"),
        ("DPLCLIP", "TRAINER.DPLCLIP.MLP_DEPTH", "1"),
        ("PromptKD", "TRAINER.PROMPTKD.PROJECT_LAYER", "3"),
        ("DPC", "TRAINER.DPC.WEIGHT", "-0.5"),
        ("DPC", "TRAINER.DPC.BACKBONE", "VPT"),
        ("TPT", "TRAINER.TPT.VIEWS", "1"),
        ("PromptSync", "TRAINER.PROMPTSYNC.ALIGN_WITH", "['pixels']"),
        ("VP", "TRAINER.VP.METHOD", "paddding"),
        ("ZeroshotCLIP", "TRAINER.ZSCLIP.TEMPLATE", "a photo"),
    ],
)
def test_a_bad_value_is_refused_before_anything_is_loaded(trainer, key, value):
    argv = ["--trainer", trainer, *DATA, "--backbone", "mini", key, value]
    with pytest.raises(UserError) as error:
        build_cfg(argv)
    line = str(error.value)
    assert line.startswith(f"{key}: ") and "allowed: " in line and "\n" not in line


def test_the_file_of_a_bad_value_is_named(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("TRAINER: {COOP: {N_CTX: -2}}\n")
    argv = ["--trainer", "CoOp", *DATA, "--config-file", str(path), "--backbone", "mini"]
    with pytest.raises(UserError, match=f"^{path}: TRAINER.COOP.N_CTX: -2; allowed: 1 and more$"):
        build_cfg(argv)
    assert (
        build_cfg([*argv, "TRAINER.COOP.N_CTX", "3"])[0].TRAINER.COOP.N_CTX == 3
    )  # the command line has the last word


def test_the_yaml_of_a_stage_is_checked_and_named(tmp_path, monkeypatch):
    from promptshift.runs import stages

    path = tmp_path / "teacher.yaml"
    path.write_text("TRAINER: {PROMPTSRC: {GPA_STD: 0}}\nMODEL: {BACKBONE: {NAME: mini}}\n")
    monkeypatch.setattr(stages, "trainer_file", lambda *args: path)
    with pytest.raises(UserError, match="teacher.yaml: TRAINER.PROMPTSRC.GPA_STD"):
        build_cfg(["--trainer", "PromptKD", *DATA, "--backbone", "mini"])


def test_checking_changes_nothing_and_filling_in_says_so():
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.DATASET.NAME, cfg.TRAINER.NAME, cfg.MODEL.BACKBONE.NAME = "MiniB2N", "DPC", "mini"
    trainer = TRAINER_REGISTRY.get("DPC")
    trainer.fill_in(cfg)
    assert (cfg.TRAINER.DPC.WEIGHT, cfg.TRAINER.DPC.NEGATIVE_VIEW) == (0.2, "train") and cfg.TRAINER.DPC.BACKBONE_OPTS
    for name in ("DPC", "PromptKD", "CoOp", "SPG", "TPT"):
        before = cfg.clone()
        TRAINER_REGISTRY.get(name).check_options(cfg)
        assert cfg == before, name


def test_a_trainer_with_plain_defaults_has_their_types_checked(registered):
    registered(type("PlainOne", (), {"BLOCK": "PLAINONE", "DEFAULTS": dict(GAIN=0.5, N=whole(2, least=2), ON=True)}))
    argv = ["--trainer", "PlainOne", *DATA]
    cfg = build_cfg([*argv, "TRAINER.PLAINONE.GAIN", "-3", "TRAINER.PLAINONE.N", "5"])[0]
    assert cfg.TRAINER.PLAINONE == {"GAIN": -3.0, "N": 5, "ON": True}
    for key, value in (("GAIN", "much"), ("N", "1"), ("ON", "2")):
        with pytest.raises(UserError, match=f"TRAINER.PLAINONE.{key}"):
            build_cfg([*argv, f"TRAINER.PLAINONE.{key}", value])


def test_a_block_that_an_extend_cfg_of_upstream_s_kind_adds_is_left_alone(registered):
    trainer = registered(type("WithoutBlock", (), {}))
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.TRAINER.WITHOUTBLOCK = CN({"ANYTHING": -1})
    complete(cfg, trainer)
    assert cfg.TRAINER.WITHOUTBLOCK.ANYTHING == -1 and trainer_options(trainer) == {}
