"""Running averages of training quantities."""

from collections import defaultdict
from collections.abc import Mapping

import torch

__all__ = ["AverageMeter", "MetricMeter"]


class AverageMeter:
    """Last value and average of one quantity; with ``ema`` an exponential average that keeps 0.9."""

    def __init__(self, ema: bool = False) -> None:
        self.ema = ema
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.val = self.avg = self.sum = 0.0
        self.count = 0

    def update(self, val: float | torch.Tensor, n: int = 1) -> None:
        """Add a value that stands for ``n`` items."""
        self.val = val.item() if isinstance(val, torch.Tensor) else val
        self.sum += self.val * n
        self.count += n
        self.avg = 0.9 * self.avg + 0.1 * self.val if self.ema else self.sum / self.count


class MetricMeter:
    """A set of named averages.

    Example:
        ``meter.update({"loss": loss, "acc": 75.0})``; ``str(meter)`` is ``loss 0.5000 (0.5000) acc 75.0000 (75.0000)``.
    """

    def __init__(self, delimiter: str = " ") -> None:
        self.meters: dict[str, AverageMeter] = defaultdict(AverageMeter)
        self.delimiter = delimiter

    def update(self, input_dict: Mapping[str, float | torch.Tensor] | None) -> None:
        """Add one value to each named average; None adds nothing.

        Raises:
            TypeError: not a mapping.
        """
        if input_dict is None:
            return
        if not isinstance(input_dict, Mapping):
            raise TypeError(f"MetricMeter.update() takes a dict of scalars, got {type(input_dict).__name__}")
        for name, value in input_dict.items():
            self.meters[name].update(value)

    def __str__(self) -> str:
        return self.delimiter.join(f"{k} {m.val:.4f} ({m.avg:.4f})" for k, m in self.meters.items())
