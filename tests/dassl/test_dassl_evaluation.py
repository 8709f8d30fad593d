"""Metrics and the evaluator, against scikit-learn where it knows the answer."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score

from dassl.config import get_cfg_default, merge_opts
from dassl.evaluation import build_evaluator
from dassl.metrics import compute_accuracy, compute_distance_matrix
from dassl.utils.errors import UserError

LABELS = torch.tensor([0, 0, 0, 1, 1, 3, 3, 3, 3])
PREDICTED = torch.tensor([0, 0, 1, 1, 2, 3, 3, 3, 0])


def evaluator(tmp_path, *opts):
    cfg = get_cfg_default()
    merge_opts(cfg, ["OUTPUT_DIR", str(tmp_path), "VERBOSE", False, *opts])
    made = build_evaluator(cfg, lab2cname={0: "ant", 1: "bee", 2: "cat", 3: "dog"})
    for part in (slice(0, 4), slice(4, 9)):
        made.process(torch.eye(4)[PREDICTED[part]], LABELS[part])
    return made


def test_results_are_at_full_precision_and_shown_with_two_decimals(tmp_path, capsys):
    results = evaluator(tmp_path).evaluate()
    f1 = 100 * f1_score(LABELS, PREDICTED, average="macro", labels=np.unique(LABELS))
    assert list(results)[0] == "accuracy"
    assert results == pytest.approx(
        {"accuracy": 600 / 9, "error_rate": 300 / 9, "macro_f1": f1, "correct": 6, "total": 9}, rel=1e-12
    )
    assert capsys.readouterr().out == (
        f"=> result\n* total: 9\n* correct: 6\n* accuracy: 66.67%\n* error: 33.33%\n* macro_f1: {f1:.2f}%\n"
    )


def test_per_class_results_and_confusion_matrix_on_request(tmp_path, capsys):
    results = evaluator(tmp_path, "TEST.PER_CLASS_RESULT", True, "TEST.COMPUTE_CMAT", True).evaluate()
    assert results["perclass_accuracy"] == pytest.approx(100 * (2 / 3 + 1 / 2 + 3 / 4) / 3)
    text = capsys.readouterr().out
    assert "* class: 3 (dog)\ttotal: 4\tcorrect: 3\tacc: 75.00%" in text and "(cat)" not in text
    saved = torch.load(tmp_path / "cmat.pt", weights_only=True)
    np.testing.assert_allclose(saved, confusion_matrix(LABELS, PREDICTED, normalize="true"))


def test_reset_forgets(tmp_path):
    made = evaluator(tmp_path)
    made.reset()
    made.process(torch.eye(4), torch.arange(4))
    assert made.evaluate()["total"] == 4
    made.reset()
    with pytest.raises(UserError, match="evaluation set is empty"):
        made.evaluate()


def test_top_k_accuracy():
    scores = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.1, 0.6, 0.3], [0.3, 0.4, 0.3]])
    target = torch.tensor([0, 1, 0, 1])
    top1, top2 = compute_accuracy(scores, target, topk=(1, 2))
    assert (top1.item(), top2.item(), top1.shape) == (50.0, 75.0, (1,))
    assert compute_accuracy((scores, "features"), target)[0].item() == 50.0


def test_distances():
    a, b = torch.tensor([[1.0, 0], [0, 2]]), torch.tensor([[1.0, 0], [3, 4], [0, -1]])
    assert torch.allclose(compute_distance_matrix(a, b), torch.cdist(a, b) ** 2, atol=1e-5)
    cosine = compute_distance_matrix(a, b, "cosine")
    assert torch.allclose(cosine, torch.tensor([[0, 0.4, 1], [1, 0.2, 2]]), atol=1e-6)
    with pytest.raises(UserError, match="'manhattan' is not one of euclidean, cosine"):
        compute_distance_matrix(a, b, "manhattan")
