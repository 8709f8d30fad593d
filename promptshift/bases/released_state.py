"""Going on from a released checkpoint: the optimizer's state of what a trainer of ours learns."""

from __future__ import annotations

from torch import Tensor, nn

_BUFFERS = ("token_prefix", "token_suffix", "running_mean", "running_var", "num_batches_tracked")


def fit_optimizer(state: dict, weights: dict[str, Tensor], module: nn.Module) -> dict:
    """An optimizer's state reduced to the parameters of `module`.

    Released trainers hand their optimizer the whole CLIP, or tensors that nothing reads, and save all of it; ours
    learns prompts alone. A parameter is found by its value.

    Args:
        state: saved `state_dict` of an optimizer with one group, whose parameters are those of `weights` in order.
        weights: saved state dict of the model that it belongs to.
        module: has its tensors from `weights`.

    Returns:
        A `state_dict` for an optimizer of `module.parameters()`; `state` itself where it fits as it is or where it
        cannot be told which parameter is which.
    """
    own, groups = list(module.parameters()), state["param_groups"]
    names = [name for name in weights if not name.rsplit(".", 1)[-1].startswith(_BUFFERS)]
    if len(groups) != 1 or len(groups[0]["params"]) == len(own) or len(groups[0]["params"]) != len(names):
        return state
    places = [next((i for i, name in enumerate(names) if _same(weights[name], param)), None) for param in own]
    if None in places:
        return state
    ids = groups[0]["params"]
    kept = {i: state["state"][ids[place]] for i, place in enumerate(places) if ids[place] in state["state"]}
    return {"state": kept, "param_groups": [groups[0] | {"params": list(range(len(own)))}]}


def _same(saved: Tensor, param: Tensor) -> bool:
    return saved.shape == param.shape and bool((saved.to(param) == param).all())
