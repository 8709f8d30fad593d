"""Predictions that keep more than logits: the run's diagnostics are made of it once, after the final test."""

import pytest
import torch

from dassl.engine import TRAINER_REGISTRY
from promptshift.bases.prediction import Prediction, joined
from promptshift.bases.shared_context import SharedContextTrainer
from promptshift.paths import load_plugins


class Watched(SharedContextTrainer):
    """CoOp that keeps the largest cosine of each image."""

    BLOCK = "COOP"
    diagnosed = 0

    def explain_features(self, features):
        logits = self.predict_features(features)
        return Prediction(logits, {"largest": logits.amax(dim=1) / self.clip.logit_scale})

    def diagnose(self, kept, labels):
        self.diagnosed += 1
        return {"images": len(labels), "largest": float(kept["largest"].max()), "diagnosed": self.diagnosed}


@pytest.mark.parametrize("cache", [True, False])
def test_diagnostics_are_of_the_final_test_alone(train, monkeypatch, cache):
    load_plugins()
    monkeypatch.setitem(TRAINER_REGISTRY._obj_map, "CoOp", Watched)
    record = train("CoOp", "TEST.FINAL_MODEL", "best_val", "TEST.FEATURE_CACHE", cache)
    assert [("val_accuracy" in epoch) for epoch in record["history"]] == [True, True]
    found = record["diagnostics"]
    assert found["diagnosed"] == 1 and found["images"] == record["metrics"]["total"] and 0 < found["largest"] < 1


def test_what_batches_keep_is_joined():
    batches = [{"a": torch.zeros(2, 3)}, {"a": torch.ones(1, 3)}]
    assert joined(batches)["a"].shape == (3, 3) and joined([]) == {} and joined([{}, {}]) == {}
