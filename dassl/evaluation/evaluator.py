"""Accuracy and its company over a whole set."""

import logging
import os
from collections import OrderedDict

import torch
from yacs.config import CfgNode

from ..utils.errors import UserError
from ..utils.torchtools import save_torch
from .build import EVALUATOR_REGISTRY

log = logging.getLogger(__name__)

__all__ = ["Classification", "EvaluatorBase"]


class EvaluatorBase:
    """Collects model outputs batch by batch, then sums them up.

    Attributes:
        last_results: what the last :meth:`evaluate` returned, for a trainer whose ``test()`` keeps none of it.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg
        self.last_results: dict[str, float] = {}

    def reset(self) -> None:
        """Forget what was collected."""
        raise NotImplementedError

    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        """Take the model's output and the truth of one batch."""
        raise NotImplementedError

    def evaluate(self) -> "OrderedDict[str, float]":
        """Print and return the results."""
        raise NotImplementedError


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    """Accuracy, error and macro F1 in percent, at full precision; log lines show two decimals."""

    def __init__(self, cfg: CfgNode, lab2cname: dict[int, str] | None = None, **kwargs: object) -> None:
        super().__init__(cfg)
        self._lab2cname = lab2cname
        self.reset()

    def reset(self) -> None:
        """Forget what was collected."""
        self._y_true: list[torch.Tensor] = []
        self._y_pred: list[torch.Tensor] = []

    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        """Take scores ``mo`` (B, K) and labels ``gt`` (B,)."""
        self._y_pred.append(mo.argmax(dim=1))
        self._y_true.append(gt)

    def correct(self) -> torch.Tensor:
        """Whether each processed image was classified right: (N,) bool on the CPU, in the order of processing."""
        return (torch.cat(self._y_true) == torch.cat(self._y_pred)).cpu()

    def evaluate(self) -> "OrderedDict[str, float]":
        """Print the result block and return accuracy, error_rate, macro_f1, correct, total (and perclass_accuracy).

        Raises:
            UserError: nothing was processed.
        """
        if not self._y_true:
            raise UserError("nothing was evaluated: the evaluation set is empty")
        y_true, y_pred = torch.cat(self._y_true).cpu(), torch.cat(self._y_pred).cpu()
        cmat = confusion_matrix(y_true, y_pred)
        correct, total = int(cmat.trace()), int(cmat.sum())
        acc = 100.0 * correct / total
        results = OrderedDict(
            accuracy=acc, error_rate=100.0 - acc, macro_f1=100.0 * macro_f1(cmat), correct=correct, total=total
        )
        log.info(
            f"=> result\n* total: {total:,}\n* correct: {correct:,}\n* accuracy: {acc:.2f}%\n"
            f"* error: {results['error_rate']:.2f}%\n* macro_f1: {results['macro_f1']:.2f}%"
        )
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._per_class(cmat)
        if self.cfg.TEST.COMPUTE_CMAT:
            self._save_cmat(cmat)
        self.last_results = results
        return results

    def _per_class(self, cmat: torch.Tensor) -> float:
        """Print one line per class that occurs and return the mean of their accuracies."""
        if self._lab2cname is None:
            raise UserError("TEST.PER_CLASS_RESULT needs class names, and the evaluator was given none")
        log.info("=> per-class result")
        accs = []
        for label in cmat.sum(1).nonzero().flatten().tolist():
            total, correct = int(cmat[label].sum()), int(cmat[label, label])
            accs.append(100.0 * correct / total)
            log.info(
                f"* class: {label} ({self._lab2cname[label]})\ttotal: {total:,}\tcorrect: {correct:,}\t"
                f"acc: {accs[-1]:.2f}%"
            )
        mean = sum(accs) / len(accs)
        log.info(f"* average: {mean:.2f}%")
        return mean

    def _save_cmat(self, cmat: torch.Tensor) -> None:
        """Keep the confusion matrix with rows (true classes that occur) summing to 1."""
        counts = cmat.sum(1, keepdim=True)
        path = os.path.join(self.cfg.OUTPUT_DIR, "cmat.pt")
        save_torch(cmat.double() / counts.clamp_min(1), path)
        log.info(f"Confusion matrix is saved to {path}")


def confusion_matrix(y_true: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """Counts (K, K), int64: row = true class, column = predicted class."""
    n = int(torch.maximum(y_true.max(), y_pred.max())) + 1
    return torch.bincount(y_true * n + y_pred, minlength=n * n).view(n, n)


def macro_f1(cmat: torch.Tensor) -> float:
    """Mean F1 in [0, 1] over the classes that occur in the truth."""
    hits = cmat.diagonal().double()
    sizes = (cmat.sum(0) + cmat.sum(1)).double()
    f1 = 2 * hits / sizes.clamp_min(1)
    return float(f1[cmat.sum(1) > 0].mean())
