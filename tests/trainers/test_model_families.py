"""What docs/models.md says of each family is what happens: zero-shot, CoOp, DPSPG and MaPLe on a tiny model of it."""

import re

import pytest
import torch

import helpers.goldens_recipe as recipe
from dassl.data import ClassNames
from dassl.utils.errors import UserError
from helpers.doc_pages import CHECKOUT
from helpers.families import FAMILIES, family_clip, write
from helpers.golden_run import golden_cfg
from trainers.coop import CoOp
from trainers.dpspg import DPSPG
from trainers.maple import MaPLe
from trainers.zsclip import ZeroshotCLIP

TRAINERS = {"zero-shot": ZeroshotCLIP, "CoOp": CoOp, "DPSPG": DPSPG, "MaPLe": MaPLe}


def table():
    """Family -> {column: cell} of the page's first table."""
    rows = re.findall(r"^\|(.+)\|$", (CHECKOUT / "docs" / "models.md").read_text(), re.M)
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    header = next(row for row in cells if "zero-shot" in row)
    return {row[0]: dict(zip(header, row)) for row in cells if row[0] in FAMILIES}


def build(cls, name):
    depth = ["TRAINER.MAPLE.PROMPT_DEPTH", 2] if cls is MaPLe else []
    same = ["DATASET.NAME", "PACS", "SEED", 1, "OPTIM.MAX_EPOCH", 1, *depth]
    cfg = golden_cfg(cls, *same, size=FAMILIES[name].image)
    trainer = cls(cfg, data=ClassNames(recipe.CLASSNAMES), clip=family_clip(name))
    trainer.modules = dict(trainer._models)
    for module in trainer.modules.values():
        module.eval()
    return trainer


def test_the_table_has_every_family_and_says_how_its_text_runs():
    rows = table()
    assert list(rows) == list(FAMILIES)
    for name, family in FAMILIES.items():
        assert rows[name]["text tower"].startswith("causal" if family.truncates else "whole length"), name
        assert rows[name]["tested on"].strip("`") == family.model


@pytest.mark.parametrize("method", TRAINERS)
@pytest.mark.parametrize("name", FAMILIES)
def test_what_the_table_says_is_what_happens(name, method):
    cls, res = TRAINERS[method], FAMILIES[name].image
    if table()[name][method] == "refused":
        with pytest.raises(UserError, match=f"MODEL.BACKBONE.NAME: .*'{re.escape(family_clip(name).name)}'") as error:
            build(cls, name)
        assert "\n" not in str(error.value)
        return
    assert table()[name][method] == "yes"
    trainer = build(cls, name)
    images = recipe.images(res=res, batch=2)
    with torch.no_grad():
        together, alone = trainer.model_inference(images), trainer.model_inference(images[:1])
    assert together.shape == (2, 6) and torch.isfinite(together).all()
    torch.testing.assert_close(together[:1], alone, atol=1e-4, rtol=0)
    if cls in (CoOp, MaPLe):
        trainer.loss({"img": images, "label": torch.tensor([0, 3])})["loss"].backward()
        gradients = [p.grad for module in trainer.modules.values() for p in module.parameters()]
        assert all(g is not None and torch.isfinite(g).all() for g in gradients) and any(
            g.norm() > 0 for g in gradients
        )


def test_dpspg_trains_from_a_folder_by_the_command(run, tmp_path):
    """Both stages on images, of a model whose text is not cut."""
    (tmp_path / "model").mkdir()
    folder = write("CoCa", tmp_path / "model")
    options = ("OPTIM.MAX_EPOCH", 1, "DATASET.NUM_SHOTS", 1, "DATALOADER.TEST.BATCH_SIZE", 32)
    result = run("DPSPG", "MODEL.BACKBONE.NAME", f"local-dir:{folder}", "INPUT.SIZE", "(32, 32)", *options)
    assert 0 <= result["metrics"]["accuracy"] <= 100
