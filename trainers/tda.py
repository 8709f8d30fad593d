"""TDA."""

import math

import torch
from torch.nn import functional as F

from dassl.config.options import above, at_least, flag, number, whole
from dassl.engine import TRAINER_REGISTRY
from promptshift.adapting.online import ONLINE_DEFAULTS, OnlineTrainer
from promptshift.losses import entropy, marginal_entropy
from promptshift.modeling.cache import Entry, SurestCache, cache_logits
from promptshift.modeling.templates import templates_of
from promptshift.modeling.towers.text_tower import TextTower
from promptshift.runs.public_files.public_blocks import precision, template_list

CODE = "kdiAAA/TDA: configs/imagenet.yaml"


def _cache(capacity, alpha, beta, **more):
    return dict(
        ENABLED=flag(True, source=CODE),
        SHOT_CAPACITY=whole(capacity, least=1, source=CODE, about="images that it keeps of a class"),
        ALPHA=at_least(0, alpha, source=CODE, about="weight"),
        BETA=at_least(0, beta, source=CODE, about="sharpness"),
        **more,
    )


def _range(lower, upper, about):
    return dict(LOWER=number(lower, source=CODE, about=f"{about}, more than this"), UPPER=number(upper, source=CODE))


class Caches:
    """The positive and the negative cache."""

    def __init__(self, positive, negative):
        self.parts = {"positive": SurestCache(positive), "negative": SurestCache(negative)}

    def tensors(self):
        return {f"{name}.{key}": t for name, part in self.parts.items() for key, t in part.tensors().items()}

    def restore(self, tensors, device):
        for name, part in self.parts.items():
            own = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
            part.restore(own, device)


@TRAINER_REGISTRY.register()
class TDA(OnlineTrainer):
    """Training-free dynamic adapter (Karmanov et al. 2024, arXiv 2403.18293).

    Two caches of the test images seen so far: the positive one keeps for each predicted class the images of lowest
    entropy, the negative one such of middling entropy with their class probabilities p. With f the image's feature, z
    the zero-shot logits and keys k_i of class c_i:
      z + alpha_p sum_i exp(-beta_p (1 - f.k_i)) onehot(c_i) - alpha_n sum_i exp(-beta_n (1 - f.k_i)) 1[lo < p_i < hi]
    An image is stored before it is answered. With VIEWS > 1 f and z are means over the confident views, f is not made
    unit again, and the entropy is that of the mean probabilities.

    An online method: its answers depend on the order of the stream (`OnlineTrainer`). New classes, domains and
    datasets: the caches begin empty and hold test images alone, so all are answered alike.

    ENTROPY_THRESHOLD is compared with the entropy in nats divided by log2 K, as in the released code; its maximum is
    ln 2. Differs from the released code: the order depends on the seed and the images' names alone; views likewise.

    Shapes: B images, V views, K classes, E embedding.
    """

    BLOCK = "TDA"
    DEFAULTS = ONLINE_DEFAULTS | dict(
        PREC=precision(),
        TEMPLATES=template_list("dataset"),
        LOGIT_SCALE=above(0, 100.0, source="kdiAAA/TDA: utils.py", about="of the zero-shot logits"),
        POSITIVE=_cache(3, 2.0, 5.0),
        NEGATIVE=_cache(
            2,
            0.117,
            1.0,
            ENTROPY_THRESHOLD=_range(0.2, 0.5, "normalised entropy of what is kept"),
            MASK_THRESHOLD=_range(0.03, 1.0, "probability of the classes that are lowered"),
        ),
    )

    def build_prompts(self, clip, classnames):
        tower = TextTower(clip, self.cfg.MODEL.TEXT_CHUNK)
        templates = templates_of(self.options.TEMPLATES, self.cfg.DATASET.NAME)
        self.text_features = tower.encode_ensemble(templates, classnames)  # (K, E)
        return {}

    def class_features(self):
        return self.text_features

    def predict_features(self, features):
        """Unit features (..., E) -> zero-shot logits (..., K), float32."""
        with torch.autocast(self.device.type, enabled=False):
            return self.options.LOGIT_SCALE * features @ self.text_features.T

    def empty_memory(self):
        return Caches(self.options.POSITIVE.SHOT_CAPACITY, self.options.NEGATIVE.SHOT_CAPACITY)

    def answer(self, memory, features, logits, place):
        o, positive, negative = self.options, memory.parts["positive"], memory.parts["negative"]
        mean, logit = features.mean(dim=0), logits.mean(dim=0)  # (E,), (K,)
        uncertainty = float(marginal_entropy(logits) if len(logits) > 1 else entropy(logit))
        entry = Entry(mean, uncertainty, logits.softmax(dim=-1).mean(dim=0), place)
        label, lies = int(logit.argmax()), o.NEGATIVE.ENTROPY_THRESHOLD
        if o.POSITIVE.ENABLED:
            positive.offer(label, entry)
        if o.NEGATIVE.ENABLED and lies.LOWER < uncertainty / math.log2(len(logit)) < lies.UPPER:
            negative.offer(label, entry)
        return logit + self.term(positive, mean) - self.term(negative, mean, o.NEGATIVE.MASK_THRESHOLD)

    def term(self, cache, feature, mask=None):
        """What a cache adds for a feature (E,), or with a mask takes off -> (K,)."""
        kept, strength = cache.keys(), self.options.POSITIVE if mask is None else self.options.NEGATIVE
        if kept is None:
            return torch.zeros(len(self.text_features), device=feature.device)
        keys, labels, probabilities = kept
        if mask is None:
            values = F.one_hot(labels, len(self.text_features)).to(feature)
        else:
            values = ((probabilities > mask.LOWER) & (probabilities < mask.UPPER)).to(feature)
        return strength.ALPHA * cache_logits(feature[None] @ keys.T, values, strength.BETA)[0]
