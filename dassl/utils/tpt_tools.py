"""Meters of test-time adaptation, with the names that TPT's and PromptAlign's files import."""

from collections.abc import Iterable, Sequence
from enum import Enum

import torch
from torch import nn

from .tools import set_random_seed
from .torchtools import load_checkpoint

__all__ = ["AverageMeter", "ProgressMeter", "Summary", "accuracy", "load_model_weight", "set_random_seed"]


class Summary(Enum):
    """What a meter's summary shows."""

    NONE = 0
    AVERAGE = 1
    SUM = 2
    COUNT = 3


class AverageMeter:
    """The latest value and the running average of something with a name.

    Args:
        name: shown before the numbers.
        fmt: how they are formatted, e.g. ``:6.2f``.
        summary_type: what :meth:`summary` shows.
    """

    def __init__(self, name: str, fmt: str = ":f", summary_type: Summary = Summary.AVERAGE) -> None:
        self.name, self.fmt, self.summary_type = name, fmt, summary_type
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.val = self.avg = self.sum = self.count = 0

    def update(self, val: float | torch.Tensor, n: int = 1) -> None:
        """Take the average ``val`` of ``n`` things."""
        self.val = val
        self.sum += val * n
        self.count += n
        self.avg = self.sum / self.count

    def _shown(self, value: float | torch.Tensor) -> str:
        return format(float(value), self.fmt.removeprefix(":"))

    def __str__(self) -> str:
        return f"{self.name} {self._shown(self.val)} ({self._shown(self.avg)})"

    def summary(self) -> str:
        """Return the name and the number that ``summary_type`` names; nothing for NONE."""
        number = {Summary.AVERAGE: self.avg, Summary.SUM: self.sum, Summary.COUNT: self.count}.get(self.summary_type)
        return "" if number is None else f"{self.name} {float(number):.3f}"


class ProgressMeter:
    """One line of several meters with a counter of batches before them."""

    def __init__(self, num_batches: int, meters: Sequence[AverageMeter], prefix: str = "") -> None:
        self.num_batches, self.meters, self.prefix = num_batches, meters, prefix

    def display(self, batch: int) -> None:
        """Print the line after batch number ``batch``."""
        counter = f"[{batch:{len(str(self.num_batches))}d}/{self.num_batches}]"
        print("\t".join([self.prefix + counter, *map(str, self.meters)]))

    def display_summary(self) -> None:
        """Print the meters' summaries."""
        print(" ".join([" *", *(meter.summary() for meter in self.meters)]))


@torch.no_grad()
def accuracy(output: torch.Tensor, target: torch.Tensor, topk: Iterable[int] = (1,)) -> list[torch.Tensor]:
    """Return for each k of ``topk`` the percentage (1,) of rows of logits (B, K) with the label (B,) among the k best.

    With fewer than k classes every row has it among them.
    """
    ranks = output.argsort(dim=1, descending=True)
    hits = ranks == target.view(-1, 1)
    return [100.0 * hits[:, :k].any(1).float().mean().view(1) for k in topk]


def load_model_weight(load_path: str, model: nn.Module, device: object = None, args: object = None) -> None:
    """Load a prompt's checkpoint into a model; token buffers, which belong to its class names, are left out.

    Args:
        load_path: the file.
        model: names that only one of the two has are skipped.
        device: unused, for upstream's calls; a model keeps its device.
        args: its ``start_epoch`` is set to the checkpoint's epoch, where given.

    Raises:
        UserError: missing, cut off or no checkpoint.
    """
    checkpoint = load_checkpoint(load_path)
    state = {k: v for k, v in checkpoint["state_dict"].items() if not k.endswith(("token_prefix", "token_suffix"))}
    model.load_state_dict(state, strict=False)
    if args is not None:
        args.start_epoch = checkpoint.get("epoch")
    print(f"Load {load_path} (epoch={checkpoint.get('epoch')})")
