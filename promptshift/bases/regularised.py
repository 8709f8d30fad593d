"""The loss of trainers that hold what they learn near the frozen model."""

import torch.nn.functional as F

from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.losses import accuracy


class RegularisedTrainer(PromptTrainer):
    """Cross-entropy plus the method's `regularisers`. Stands first among the bases, before the trainer it extends."""

    def loss(self, batch):
        features, classes = self.learnt_features(batch), self.class_features().float()
        logits, labels = self.clip.logit_scale * features @ classes.T, batch["label"].to(self.device)
        terms = self.regularisers(batch, features, classes)
        return {"loss": F.cross_entropy(logits, labels) + sum(terms.values()), "acc": accuracy(logits, labels)} | terms
