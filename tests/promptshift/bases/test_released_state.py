"""An optimizer's state of a released checkpoint, which may hold more tensors than are learnt here."""

import pytest
import torch
from torch import nn

from promptshift.bases.released_state import fit_optimizer


class Released(nn.Module):
    """More parameters than ours, and buffers that are saved too."""

    def __init__(self):
        super().__init__()
        self.visual = nn.Linear(2, 2)
        self.ctx = nn.Parameter(torch.randn(3, 2))
        self.register_buffer("token_prefix", torch.ones(1))
        self.bn = nn.BatchNorm1d(2)
        self.deep = nn.Parameter(torch.randn(3, 2))


class Ours(nn.Module):
    """Two of them, in another order."""

    def __init__(self, released):
        super().__init__()
        self.deep = nn.Parameter(released.deep.detach().clone())
        self.ctx = nn.Parameter(released.ctx.detach().clone())


@pytest.fixture
def saved():
    """-> released module, its optimizer's state after a step that gave every tensor a momentum of its own."""
    torch.manual_seed(0)
    module = Released()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
    for i, parameter in enumerate(module.parameters()):
        parameter.grad = torch.full_like(parameter, float(i))
    optimizer.step()
    return module, optimizer.state_dict()


def test_the_momentum_goes_with_the_value(saved):
    module, state = saved
    ours = Ours(module)
    fitted = fit_optimizer(state, module.state_dict(), ours)
    optimizer = torch.optim.SGD(ours.parameters(), lr=1.0, momentum=0.1)
    optimizer.load_state_dict(fitted)
    names = [name for name, _ in module.named_parameters()]
    for name, parameter in ours.named_parameters():
        momentum = optimizer.state[parameter]["momentum_buffer"]
        assert torch.equal(momentum, torch.full_like(parameter, float(names.index(name))))
    assert optimizer.param_groups[0]["lr"] == 0.01 and fitted["param_groups"][0]["params"] == [0, 1]


def test_what_had_no_state_has_none(saved):
    module, state = saved
    names = [name for name, _ in module.named_parameters()]
    del state["state"][names.index("ctx")]
    fitted = fit_optimizer(state, module.state_dict(), Ours(module))
    assert list(fitted["state"]) == [0]


def test_what_fits_or_cannot_be_told_stays_as_it_is(saved):
    module, state = saved
    weights, ours = module.state_dict(), Ours(module)
    assert fit_optimizer(state, weights, module) is state  # as many as are learnt
    assert fit_optimizer(state, {**weights, "more": torch.ones(1)}, ours) is state  # not the parameters in order
    two = {**state, "param_groups": state["param_groups"] * 2}
    assert fit_optimizer(two, weights, ours) is two
    with torch.no_grad():
        ours.ctx[0, 0] += 1
    assert fit_optimizer(state, weights, ours) is state  # one of ours is none of theirs
