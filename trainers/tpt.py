"""TPT."""

import logging

from dassl.config.options import choice, whole, with_defaults
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from promptshift.adapting.trainer import TEST_TIME_DEFAULTS, AdaptingTrainer, Seen
from promptshift.losses import marginal_entropy
from promptshift.modeling.conditional import ConditionalPromptLearner
from promptshift.modeling.prompts import PromptLearner
from promptshift.modeling.views import take_views
from promptshift.runs.public_files.public_blocks import precision, start_words

log = logging.getLogger(f"promptshift.{__name__}")


@TRAINER_REGISTRY.register()
class TPT(AdaptingTrainer):
    """Test-time prompt tuning (Shu et al. 2022, arXiv 2209.07511).

    One AdamW step on the context of each test image, which lowers the entropy of the mean prediction of its most
    confident views (the paper's equations 3 and 4); prediction on the clean view. PROMPT says which context each
    image starts from: the words of CTX_INIT (hand), that of a CoOp run, or the one that a CoCoOp run makes for the
    image's clean view, in which case the meta-net stays fixed.

    Differs from the released code: images are adapted together, prompts run to their longest end-of-text position,
    the context is kept in float32 whatever PREC is, views depend on the run's seed and the image's name alone.
    AUGMIX auto is its rule: random views are mixed but for ImageNet and its variants.

    Shapes: N images, V views, n confident views, K classes, M context vectors, D text width, E embedding.
    """

    BLOCK = "TPT"
    DEFAULTS = with_defaults(TEST_TIME_DEFAULTS, "arXiv 2209.07511", AUGMIX="auto") | dict(
        N_CTX=whole(
            4, least=1, source="arXiv 2209.07511", about="context vectors; with CTX_INIT as many as its tokens"
        ),
        CTX_INIT=start_words("a photo of a", "arXiv 2209.07511"),
        PREC=precision("amp"),
        PROMPT=choice("hand", "CoOp", "CoCoOp", about="the context to start from: the words', or that of such a run"),
    )
    KEY_ALIASES = {"TRAINER.TPT.BATCH_SIZE": "TRAINER.TPT.VIEWS"}

    @classmethod
    def check_options(cls, cfg):
        super().check_options(cfg)
        if cfg.TRAINER.TPT.PROMPT == "hand" and cfg.TRAINER.TPT.START.RUN:
            raise UserError(
                f"TRAINER.TPT.START.RUN: {cfg.TRAINER.TPT.START.RUN} is not used with PROMPT hand; set "
                "TRAINER.TPT.PROMPT to CoOp or CoCoOp"
            )

    @classmethod
    def starts_from(cls, cfg):
        o = cfg.TRAINER.TPT
        return "" if o.PROMPT == "hand" else o.PROMPT

    @classmethod
    def start_changes(cls, cfg):
        o = cfg.TRAINER.TPT
        return [word for key in ("N_CTX", "CTX_INIT", "PREC") for word in (f"TRAINER.{o.PROMPT.upper()}.{key}", o[key])]

    def build_prompts(self, clip, classnames):
        o, chunk = self.options, self.cfg.MODEL.TEXT_CHUNK
        if o.PROMPT == "CoCoOp":
            self.prompt_learner = ConditionalPromptLearner(clip, classnames, o.N_CTX, o.CTX_INIT, chunk)
        else:
            self.prompt_learner = PromptLearner(clip, classnames, o.N_CTX, o.CTX_INIT, max_tokens=chunk)
        return {"prompt_learner": self.prompt_learner}

    def start_ctx(self, clean):
        """Clean features (N, E) -> contexts (N, M, D) that adaptation starts from."""
        learner = self.prompt_learner
        shift = learner.meta_net(clean).unsqueeze(1) if hasattr(learner, "meta_net") else 0
        return (learner.ctx + shift).float().expand(len(clean), -1, -1)

    def classes(self, ctx):
        """Contexts (N, M, D) -> class features (N, K, E), L2-normalised; all the same ones are run once."""
        features = self.prompt_learner.template.features_each
        if not ctx.requires_grad and (ctx == ctx[:1]).all():
            return features(ctx[:1]).float().expand(len(ctx), -1, -1)
        return features(ctx).float()

    def see(self, views):
        features = self.in_chunks(self.encode_images, views)
        ctx = self.start_ctx(features[:, 0])
        return Seen(views, features, self.logits(features, self.classes(ctx)), {"ctx": ctx})

    def adaptation_loss(self, values, seen):
        kept = take_views(seen.features, self.confident(seen))  # (N, n, E)
        return marginal_entropy(self.logits(kept, self.classes(values["ctx"])))

    def adapted_logits(self, values, seen):
        return self.logits(seen.features[:, :1], self.classes(values["ctx"]))[:, 0]

    def predict_features(self, features):
        return self.logits(features.unsqueeze(1), self.classes(self.start_ctx(features)))[:, 0]

    def tokens_of_an_image(self):
        return self.prompt_learner.template.tokens.numel()

    def test(self, split=None):
        accuracy = super().test(split)
        self.announce(self.last_results)
        return accuracy

    def announce(self, results):
        """The last lines of the released code's log."""
        o, name = self.options, self.cfg.DATASET.NAME
        first, fifth = (f"{results[key]:.2f}" for key in ("accuracy", "top5_accuracy"))
        log.info(f"=> Acc. on testset [{name}]: @1 {first}/ @5 {fifth}")
        log.info("======== Result Summary ========")
        log.info(f"params: nstep\tlr\tbs\nparams: {o.TTA_STEPS}\t{o.LR}\t{o.VIEWS}")
        log.info(f"\t\t [set_id] \t\t Top-1 acc. \t\t Top-5 acc.\n{name}\t{first}\t{fifth}")
