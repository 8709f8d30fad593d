"""A loss that takes gradients itself and is not finite ends a run in one line that names the first such tensor."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from helpers.golden_trainers import batch, trainer_on_golden_clip
from helpers.mini_runs import arguments
from promptshift.bases.shared_context import SharedContextTrainer
from promptshift.runs.run import main


class Logarithm(nn.Module):
    """NaN for what is at most the offset."""

    def __init__(self, offset):
        super().__init__()
        self.offset = nn.Parameter(torch.tensor(float(offset)))

    def forward(self, x):
        return (x - self.offset).log()


class Guided(SharedContextTrainer):
    """CoOp with a penalty on the gradient of its loss."""

    BLOCK = "COOP"
    OFFSET, FACTOR = 1e6, 1.0

    def build_prompts(self, clip, classnames):
        self.penalty = nn.Sequential(nn.Identity(), Logarithm(self.OFFSET))
        return super().build_prompts(clip, classnames) | {"penalty": self.penalty}

    def loss(self, batch):
        logits = self.predict_features(self.learnt_features(batch))
        ce = F.cross_entropy(logits, batch["label"].to(self.device))
        (guide,) = torch.autograd.grad(ce, [self.prompt_learner.ctx], retain_graph=True)
        return {"loss": self.FACTOR * (ce + self.penalty(guide.norm()))}


class Factor(Guided):
    """NaN comes from no module."""

    OFFSET, FACTOR = -1.0, float("nan")


@pytest.mark.parametrize("precision", ["fp32", "amp"])
@pytest.mark.parametrize("cls, named", [(Guided, "the output of penalty.1"), (Factor, "loss")])
def test_the_first_tensor_that_is_not_finite_is_named(cls, named, precision):
    trainer = trainer_on_golden_clip(cls, PREC=precision)
    trainer.num_batches = 2
    with pytest.raises(UserError) as error:
        trainer.forward_backward(batch())
    assert f"epoch 1, batch 1: {named} is the first" in str(error.value) and "\n" not in str(error.value)


def test_a_finite_loss_that_takes_gradients_steps():
    trainer = trainer_on_golden_clip(type("Finite", (Guided,), {"OFFSET": -1.0}))
    trainer.num_batches, before = 2, trainer.prompt_learner.ctx.detach().clone()
    trainer.forward_backward(batch())
    assert not torch.equal(trainer.prompt_learner.ctx, before)


def test_a_run_ends_in_one_line(mini_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TRAINER_REGISTRY._obj_map, "Guided", Guided)
    argv = arguments(mini_root, tmp_path / "run", "CoOp")
    argv[argv.index("--trainer") + 1] = "Guided"
    assert main(argv) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith("error: ") and "\n" not in line and "penalty.1" in line and "TRAINER.COOP" in line
    assert (tmp_path / "run" / "log.txt").read_text().endswith(f"{line}\n")
