"""Words of public configuration files that are read, or refused for what is wrong with them upstream."""

import pytest

from dassl.utils.errors import UserError
from promptshift.runs.config import build_cfg, config_hash

PROMPTALIGN = """
TPT:
  LOADER: True
  LR: 4e-2
  RUN: True
  ALIGN_LAYER_FROM: 0
  ALIGN_LAYER_TO: 3
  TTA_STEPS: 1
  DISTR_ALIGN: True
  TPT_THRESHOLD: 0.1
  ALIGN_THRESHOLD: 0.1
  TPT_LOSS: True
  DISTR_LOSS_W: 100.
  BATCH_SIZE: 32
"""


def merged(tmp_path, trainer, text, dataset="configs/datasets/dtd.yaml"):
    file = tmp_path / "released.yaml"
    file.write_text(f"MODEL:\n  BACKBONE:\n    NAME: RN50\n{text}")
    return build_cfg(["--trainer", trainer, "--dataset-config-file", str(dataset), "--config-file", str(file)])[0]


@pytest.mark.parametrize("word, words", [("True", "a photo of a"), ("False", ""), ("an image of", "an image of")])
def test_kgcoop_s_switch_stands_for_words(tmp_path, word, words):
    cfg = merged(tmp_path, "KgCoOp", f"TRAINER:\n  COOP:\n    CTX_INIT: {word}\n")
    assert cfg.TRAINER.KGCOOP.CTX_INIT == words


@pytest.mark.parametrize("trainer, block", [("CoOp", "COOP"), ("CoCoOp", "COCOOP")])
def test_the_switch_of_the_other_blocks_is_refused_with_the_released_defect(tmp_path, trainer, block):
    with pytest.raises(
        UserError, match=r"released.yaml: TRAINER\.\w+\.CTX_INIT: True .*template.*a photo of a"
    ) as error:
        merged(tmp_path, trainer, f"TRAINER:\n  {block}:\n    CTX_INIT: True\n")
    assert "\n" not in str(error.value)
    assert merged(tmp_path, trainer, f"TRAINER:\n  {block}:\n    CTX_INIT: False\n").TRAINER[block].CTX_INIT == ""


def test_promptalign_s_released_files_set_its_keys(tmp_path):
    o = merged(tmp_path, "PromptAlign", PROMPTALIGN).TRAINER.PROMPTALIGN
    assert (o.LR, o.TTA_STEPS, o.DISTR_LOSS_W, o.VIEWS, o.ALIGN_LAYER_TO) == (4e-2, 1, 100.0, 32, 3)


@pytest.mark.parametrize("key, value", [("LOADER", "False"), ("RUN", "False"), ("COCOOP", "True")])
def test_what_promptalign_does_not_do_here_is_refused(tmp_path, key, value):
    with pytest.raises(UserError, match=f"PROMPTALIGN.{key}: {value}, allowed: "):
        merged(tmp_path, "PromptAlign", f"TPT:\n  {key}: {value}\n")


def test_promptalign_s_dataset_files_change_no_number(tmp_path):
    file = tmp_path / "ucf101.yaml"
    file.write_text("DATASET:\n  NAME: UCF101\n  TPT: ucf101\n")
    theirs = merged(tmp_path, "PromptAlign", PROMPTALIGN, file)
    ours = merged(tmp_path, "PromptAlign", PROMPTALIGN, "configs/datasets/ucf101.yaml")
    assert config_hash(theirs) == config_hash(ours)
