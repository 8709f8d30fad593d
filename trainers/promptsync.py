"""PromptSync."""

import logging

import torch
import torch.nn.functional as F

from dassl.config.options import at_least, choice, count_or, flag, names, whole
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from promptshift.adapting.source_prototypes import source_template
from promptshift.adapting.steps import adapt
from promptshift.adapting.stream import batches_from, tensors_fingerprint
from promptshift.losses import marginal_entropy, prototype_discrimination, weighted_distance
from promptshift.modeling.multimodal import class_features
from promptshift.modeling.prototypes import patch_features
from promptshift.modeling.views import most_confident, take_views
from trainers.promptalign import COUPLED_DEFAULTS, PromptAlign

log = logging.getLogger(f"promptshift.{__name__}")

KINDS = ("text", "cls", "vision")


@TRAINER_REGISTRY.register()
class PromptSync(PromptAlign):
    """PromptSync (Khandelwal 2024, arXiv 2404.07520): class-aware prototype alignment and discrimination.

    For each source class k a text prototype and, as means over source images, a class-token (cls) and a patch-token
    (vision) prototype, made once under the prompts that adaptation starts from. For a test image, with t_k the class
    features and q the mean feature over the clean view and the confident random ones,
      L_align = sum_k p_k (mean |q - P^cls_k| + mean |t_k - P^text_k|),   p = mean class probabilities of these views,
      L_disc  = mean_k -log( sum_a exp(t_k . P^a_k / tau) / sum_j sum_a exp(t_k . P^a_j / tau) ),  a: source views,
      L       = ALIGN_W L_align + PD_W L_disc + ENTROPY_W (entropy of the mean prediction of the confident views).
    The discrimination looks at no test image, so it need not be repeated for each (DISCRIMINATE): `once` takes
    PD_STEPS steps before the stream, a number n that many again before every n-th image, `image` adds it to every
    image's loss, `off` leaves it out. Class-aware alignment alone: DISCRIMINATE off; discrimination alone: ALIGN False.

    Differs from the paper and from the released code: there is no released code and of the paper the formulas of the
    prototypes and of the positive term are known, so this is a reconstruction. Its choices: projected L2-normalised
    features; L1 distances and the weight 100 of PromptAlign (arXiv 2311.01459); gradients through p (DETACH_WEIGHTS
    True for none); no entropy term by default; InfoNCE over all classes with tau = exp(-logit_scale); prototypes of
    `vision` only where ALIGN_WITH names them; probabilities over the source classes, by a text pass of their own
    where the test set has others (PROTOTYPE_CLASSES target: over the test set's own, which must have prototypes).
    Note: with one step and no discrimination before it t_k is P^text_k itself, and the text term has no gradient
    (`text_prototypes` sees to it that rounding does not give it one).

    Shapes: N images, V views, n confident ones, K classes, C source classes, A source views, E embedding.
    """

    BLOCK = "PROMPTSYNC"
    DEFAULTS = COUPLED_DEFAULTS | dict(
        ALIGN=flag(True, source="arXiv 2404.07520", about="the class-aware alignment in the loss"),
        ALIGN_W=at_least(0, 100.0, source="PromptAlign, arXiv 2311.01459", about="its weight"),
        ALIGN_WITH=names(*KINDS, default=["text", "cls"], about="prototypes that it aligns with"),
        DETACH_WEIGHTS=flag(False, about="no gradient through the class probabilities"),
        PROTOTYPE_CLASSES=choice("source", "target", about="classes of the weights and prototypes"),
        DISCRIMINATE=count_or(
            "once", "image", "off", default="once", about="when prototypes are told apart; n: before every n-th image"
        ),
        PD_W=at_least(0, 1.0, about="weight of the discrimination"),
        PD_LR=at_least(0, 5e-4, source="PromptAlign's configurations", about="its learning rate"),
        PD_STEPS=whole(1, least=1, about="its steps"),
        PROTOTYPE_VIEWS=whole(4, least=0, about="random views of a source image that are kept"),
        ENTROPY_W=at_least(0, 0.0, about="weight of the entropy of PromptAlign"),
    )
    KEY_ALIASES = {"TRAINER.TPT.BATCH_SIZE": "TRAINER.PROMPTSYNC.VIEWS", "TRAINER.TPT": "TRAINER.PROMPTSYNC"}

    @classmethod
    def check_options(cls, cfg):
        super().check_options(cfg)
        o, block = cfg.TRAINER.PROMPTSYNC, "TRAINER.PROMPTSYNC"
        if o.ALIGN and not o.ALIGN_WITH:
            raise UserError(f"{block}.ALIGN_WITH: [] with ALIGN True; allowed: one or more of {', '.join(KINDS)}")
        if not o.ALIGN and o.DISCRIMINATE == "off" and not o.ENTROPY_W:
            raise UserError(f"{block}.ALIGN, DISCRIMINATE, ENTROPY_W: all are off, nothing is left to adapt by")
        if int(o.VIEWS * o.TPT_THRESHOLD) > o.VIEWS - 1:
            raise UserError(
                f"{block}.TPT_THRESHOLD: {o.TPT_THRESHOLD}; confident views are random ones, of which "
                f"there are {o.VIEWS - 1}; allowed: up to {(o.VIEWS - 1) / o.VIEWS:g}"
            )

    at_source = False  # the prompts that images start from are those that the prototypes were made under

    # Source classes and discrimination

    def needs_source(self):
        return self.options.ALIGN or self.options.DISCRIMINATE != "off"

    def random_views(self):
        return self.options.PROTOTYPE_VIEWS

    def prepare(self):
        super().prepare()
        self.discriminated, self.source_template = 0, None
        if self.needs_source():
            self.choose_classes()
            self.at_source = self.source.about.get("start") == tensors_fingerprint(self.prompt_learner.state_dict())
        if self.options.DISCRIMINATE == "once":
            self.discriminate()
        if self.uses_own_copies:  # files, which are no stream, are adapted to as its first image
            self.before_batch(0)

    def _evaluate(self, data_loader):
        first = {name: value.clone() for name, value in self.prompt_learner.state_dict().items()}
        try:
            return super()._evaluate(data_loader)
        finally:
            self.prompt_learner.load_state_dict(first)  # discrimination has moved them

    def choose_classes(self):
        """Sets the prototypes' classes (C): the source's, or the test set's."""
        source, names = self.source.about.get("classes", []), list(self.dm.dataset.classnames)
        if not source:
            raise UserError(
                f"TRAINER.{self.BLOCK}.PROTOTYPES: the file holds statistics without class prototypes; "
                "make them with promptshift prototypes"
            )
        if self.options.PROTOTYPE_CLASSES == "target":
            lacking = [name for name in names if name not in source]
            if lacking:
                raise UserError(
                    f"TRAINER.{self.BLOCK}.PROTOTYPE_CLASSES target: {len(lacking)} of {len(names)} "
                    f"classes of {self.cfg.DATASET.NAME} have no prototype, e.g. '{lacking[0]}'; allowed: "
                    "source, or prototypes of these classes"
                )
            rows = torch.tensor([source.index(name) for name in names], device=self.device)
            self.source.text, self.source.vision = self.source.text[rows], self.source.vision[rows]
            self.source.cls, source = self.source.cls[:, rows], names
        if self.options.ALIGN or self.options.DISCRIMINATE == "image":
            whose = "the test set's own" if source == names else "not those of the test set"
            log.info(f"Class weights over the {len(source)} source classes, {whose}")
        self.source_template = self.template if source == names else source_template(self, source)

    def stream_step(self):
        """Images between two discriminations; 0 where they are not counted."""
        choice = self.options.DISCRIMINATE
        return int(choice) if choice.isdigit() else 0

    def stream_batches(self, first, end):
        return batches_from(first, end, self.images_at_once(), self.stream_step())

    def _answers(self, batch, names):
        self.before_batch(batch["index"][0])
        return super()._answers(batch, names)

    def before_batch(self, first):
        """Discriminates as often as the images up to `first` ask for."""
        every = self.stream_step()
        while every and self.discriminated < 1 + first // every:
            self.discriminate()

    def discriminate(self):
        """Takes PD_STEPS steps of the discrimination loss on the prompts that images start from."""
        o, values = self.options, dict(self.prompt_learner.named_parameters())

        def loss(values):
            with self.autocast():
                prompts = self.prompt_learner.prompts(values)
                return o.PD_W * self.discrimination(self.source_classes(prompts))

        with torch.no_grad():
            before = self.discrimination(self.class_features_of_source()).item()
        stepped, _ = adapt(
            {name: value.unsqueeze(0) for name, value in values.items()},
            loss,
            o.PD_STEPS,
            o.PD_LR,
            o.WEIGHT_DECAY,
            self.loss_scale,
        )
        with torch.no_grad():
            for name, value in values.items():
                value.copy_(stepped[name][0])
            after = self.discrimination(self.class_features_of_source()).item()
        self.discriminated, self.at_source = self.discriminated + 1, False
        self.diagnostics |= {
            "discriminations": self.discriminated,
            "discrimination_before": before,
            "discrimination_after": after,
        }

    def source_classes(self, prompts):
        """Prompts, with a leading dimension N or not -> features of the source classes (N, C, E) or (C, E)."""
        return class_features(self.source_template, prompts.ctx, prompts.deep_text).float()

    def class_features_of_source(self):
        return self.source_classes(self.prompt_learner())

    def discrimination(self, classes):
        """Source class features (..., C, E) -> L_disc (...), in float32 as `logits` are."""
        with torch.autocast(self.device.type, enabled=False):
            return prototype_discrimination(classes, self.source.cls, self.clip.logit_scale)

    # One batch of images

    def adapts(self):
        return self.options.ALIGN or self.options.DISCRIMINATE == "image" or self.options.ENTROPY_W > 0

    def confident(self, seen):
        return 1 + most_confident(seen.entropies[:, 1:], int(self.options.VIEWS * self.options.TPT_THRESHOLD))

    def adaptation_loss(self, values, seen):
        o, prompts, parts = self.options, self.prompt_learner.prompts(values), []
        classes = self.source_classes(prompts) if o.ALIGN or o.DISCRIMINATE == "image" else None
        if o.ALIGN or o.ENTROPY_W:
            kept = F.pad(self.confident(seen), (1, 0))  # (N, 1 + n), the clean view first
            features, tokens = self.view_features(prompts, take_views(seen.views, kept))
        if o.ALIGN:
            text = self.text_prototypes(classes, values, seen)
            parts.append(o.ALIGN_W * self.class_alignment(features, tokens, classes, text))
        if o.DISCRIMINATE == "image":
            parts.append(o.PD_W * self.discrimination(classes))
        if o.ENTROPY_W:
            shared = classes is not None and self.source_template is self.template
            own = classes if shared else class_features(self.template, prompts.ctx, prompts.deep_text)
            parts.append(o.ENTROPY_W * marginal_entropy(self.logits(features[:, 1:], own)))
        return torch.stack(parts).sum(dim=0)

    def text_prototypes(self, classes, values, seen):
        """Source class features (N, C, E) under values -> what they are drawn to, (C, E) or (N, C, E).

        Under the prompts that the prototypes were made with these are the class features themselves. L1 distances
        have no gradient there; that of a last bit that another precision or size of batch rounds otherwise would be
        of full size, larger than that of the other terms.
        """
        if not self.at_source:
            return self.source.text
        unmoved = torch.stack([(value == seen.start[name]).flatten(1).all(dim=1) for name, value in values.items()])
        return torch.where(unmoved.all(dim=0)[:, None, None], classes.detach(), self.source.text)

    def class_alignment(self, features, tokens, classes, text):
        """L_align of each image, (N,).

        Args:
            features, tokens: of the clean view and the confident ones, (N, 1 + n, E), and (N, 1 + n, T, W) per block.
            classes: source class features (N, C, E).
            text: text prototypes (C, E), or (N, C, E).
        """
        o, source = self.options, self.source
        weights = self.logits(features, classes).softmax(dim=-1).mean(dim=1)  # (N, C)
        if o.DETACH_WEIGHTS:
            weights = weights.detach()
        pairs = []
        if "cls" in o.ALIGN_WITH:
            pairs.append((F.normalize(features.mean(dim=1, keepdim=True), dim=-1), source.cls[0]))  # (N, 1, E)
        if "vision" in o.ALIGN_WITH:
            patches = patch_features(self.tower, tokens[-1].flatten(0, 1), o.N_CTX).unflatten(0, features.shape[:2])
            pairs.append((F.normalize(patches.mean(dim=1, keepdim=True), dim=-1), source.vision))
        if "text" in o.ALIGN_WITH:
            pairs.append((classes, text))  # (N, C, E), (C, E)
        return sum(weighted_distance(weights, ours, prototypes) for ours, prototypes in pairs)
