"""Results of trainers that override ``test()``."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

__all__ = ["remembering"]


def remembering(test: Callable[..., float]) -> Callable[..., float]:
    """A ``test()`` of a subclass that leaves its results behind, as ``SimpleTrainer.test`` does.

    Public trainer files override it without a word to ``last_results``: what their evaluator summed up last is taken,
    or else the number that they return, as the accuracy.
    """

    @functools.wraps(test)
    def remembered(self: Any, *args: object, **kwargs: object) -> float:
        self.last_results = self.evaluator.last_results = {}
        result = test(self, *args, **kwargs)
        if not self.last_results:
            self.last_results = dict(self.evaluator.last_results or _returned_accuracy(result))
        if self._epoch_record is not None and self.last_results:
            split = (*args, kwargs.get("split"), self.cfg.TEST.SPLIT)
            name = f"{next(filter(None, split))}_accuracy"
            self._epoch_record.setdefault(name, float(next(iter(self.last_results.values()))))
        return result

    return remembered


def _returned_accuracy(result: object) -> dict[str, float]:
    """The accuracy that a ``test()`` returned, the first of several numbers ([top-1, top-5]); {} without a number."""
    first = result[0] if isinstance(result, Sequence) and result else result
    return {"accuracy": float(first)} if isinstance(first, int | float | np.number | torch.Tensor) else {}
