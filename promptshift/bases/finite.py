"""Finding the first tensor that is not finite, for the message of a run that stops."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def first_bad_weight(modules: Iterable[tuple[str, nn.Module]]) -> str | None:
    """Name of the first weight or buffer that holds inf or NaN, None if all are finite."""
    for name, module in modules:
        for key, tensor in module.state_dict().items():
            if _is_bad(tensor):
                return f"{name}.{key}"
    return None


def first_bad_output(modules: Iterable[tuple[str, nn.Module]], run: Callable[[], object]) -> str | None:
    """Runs a computation again and names the first submodule whose output holds inf or NaN, None if none does.

    It runs with gradients, as it did the first time: it may take some itself.
    """
    bad: list[str] = []

    def watch(name: str):
        def hook(module, inputs, output):
            if not bad and isinstance(output, Tensor) and _is_bad(output):
                bad.append(name)

        return hook

    handles = [
        part.register_forward_hook(watch(f"{name}.{path}" if path else name))
        for name, module in modules
        for path, part in module.named_modules()
    ]
    try:
        with torch.enable_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return bad[0] if bad else None


def _is_bad(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
