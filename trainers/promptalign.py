"""PromptAlign."""

import logging
from pathlib import Path

import torch
import torch.nn.functional as F

from dassl.config.options import at_least, between, flag, text, whole, with_defaults
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from promptshift.adapting.source_prototypes import FILE, check_fits, kept_prototypes, source_configuration
from promptshift.adapting.trainer import TEST_TIME_DEFAULTS, AdaptingTrainer, Seen, check_share
from promptshift.losses import marginal_entropy, token_alignment
from promptshift.modeling.multimodal import CoupledPrompts, class_features
from promptshift.modeling.prototypes import load_prototypes, released_statistics
from promptshift.modeling.views import most_confident, take_views
from promptshift.runs.public_files.public_blocks import PUBLIC_BLOCKS

log = logging.getLogger(f"promptshift.{__name__}")

PAPER = "arXiv 2311.01459"
MAPLE_KEYS = ("N_CTX", "CTX_INIT", "PREC", "PROMPT_DEPTH")
COUPLED_DEFAULTS = (
    with_defaults(TEST_TIME_DEFAULTS, PAPER, LR=4e-2)
    | with_defaults(PUBLIC_BLOCKS["PROMPTALIGN"], PAPER, PREC="amp", PROMPT_DEPTH=3)
    | dict(
        PROTOTYPES=text("", about="file of promptshift prototypes; '': made from the start run's training images"),
        PROTOTYPE_SHOTS=whole(0, least=0, about="source images of a class; 0: all"),
    )
)


@TRAINER_REGISTRY.register()
class PromptAlign(AdaptingTrainer):
    """PromptAlign (Hassan et al. 2023, arXiv 2311.01459): MaPLe's prompts adapted to each test image.

    L = L_entropy + DISTR_LOSS_W * L_align: TPT's entropy of the mean prediction of the confident views, and the
    distance of the token statistics of these views from those of the source images. Mean and variance over the views
    are taken per token and channel at the input of each block, prompts included; L_align is the mean over blocks
    ALIGN_LAYER_FROM .. ALIGN_LAYER_TO - 1 of 0.5 |mean - source mean| + 0.5 |variance - source variance|, each the
    mean absolute difference. One AdamW step on prompts and projections, from the same start for every image.

    Differs from the paper: the halves, which are the released code's. Differs from the released code: all the layers
    named are aligned (there the last one is left out of the sum and kept in its divisor: RELEASED_LAYERS True);
    images are adapted together; prompts are float32 whatever PREC is; views depend on the run's seed and the image's
    name alone; the source statistics are made from the training images of the run it starts from, unless VIS_MEANS
    and VIS_VARS name the released files or PROTOTYPES one of ours.

    Shapes: N images, V views, n confident ones, K classes, T tokens, W vision width, E embedding.
    """

    BLOCK, STARTS_FROM = "PROMPTALIGN", "MaPLe"
    DEFAULTS = COUPLED_DEFAULTS | dict(
        TPT_LOSS=flag(True, source=PAPER, about="the entropy in the loss"),
        DISTR_ALIGN=flag(True, source=PAPER, about="the alignment in the loss"),
        DISTR_LOSS_W=at_least(0, 100.0, source=PAPER, about="weight of the alignment"),
        ALIGN_THRESHOLD=between(0, 1, 0.1, source=PAPER, about="share of the views that are aligned"),
        ALIGN_LAYER_FROM=whole(0, least=0, source="PromptAlign's train.py", about="first block aligned"),
        ALIGN_LAYER_TO=whole(3, least=1, source="PromptAlign's train.py", about="the block behind the last one"),
        RELEASED_LAYERS=flag(False, about="leave the last of them out of the sum, as the released code"),
        VIS_MEANS=text("", about="file of released means of the source"),
        VIS_VARS=text("", about="file of released variances of the source"),
    )
    KEY_ALIASES = {
        f"{block}{old}": f"TRAINER.PROMPTALIGN{new}"
        for block in ("TRAINER.TPT", "TPT")  # TPT's block, and the one of PromptAlign's files
        for old, new in ((".BATCH_SIZE", ".VIEWS"), ("", ""))
    }

    @classmethod
    def check_options(cls, cfg):
        super().check_options(cfg)
        if cls is PromptAlign:
            cls._check_alignment(cfg.TRAINER.PROMPTALIGN)

    @staticmethod
    def _check_alignment(o):
        check_share("TRAINER.PROMPTALIGN.ALIGN_THRESHOLD", o.ALIGN_THRESHOLD, o.VIEWS)
        if not (o.TPT_LOSS or o.DISTR_ALIGN):
            raise UserError(
                "TRAINER.PROMPTALIGN.TPT_LOSS, DISTR_ALIGN: both are False, nothing is left to adapt by; "
                "allowed: at least one True"
            )
        if not 0 <= o.ALIGN_LAYER_FROM < o.ALIGN_LAYER_TO - bool(o.RELEASED_LAYERS):
            raise UserError(
                f"TRAINER.PROMPTALIGN.ALIGN_LAYER_FROM, ALIGN_LAYER_TO: {o.ALIGN_LAYER_FROM}, "
                f"{o.ALIGN_LAYER_TO} name no layer; allowed: 0 <= FROM < TO, TO not among them"
            )
        if bool(o.VIS_MEANS) != bool(o.VIS_VARS):
            raise UserError("TRAINER.PROMPTALIGN.VIS_MEANS, VIS_VARS: one is set and the other is not; give both files")

    @classmethod
    def start_changes(cls, cfg):
        return [word for key in MAPLE_KEYS for word in (f"TRAINER.MAPLE.{key}", cfg.TRAINER[cls.BLOCK][key])]

    def build_prompts(self, clip, classnames):
        o = self.options
        self.prompt_learner = CoupledPrompts(
            clip, classnames, o.N_CTX, o.CTX_INIT, o.PROMPT_DEPTH, self.cfg.MODEL.TEXT_CHUNK, self.BLOCK
        )
        self.tower, self.template = self.prompt_learner.tower, self.prompt_learner.template
        return {"MultiModalPromptLearner": self.prompt_learner}

    def class_features(self):
        return self.prompt_learner.class_features()

    def image_features(self, images):
        return self.prompt_learner.image_features(images.to(self.device))

    # What the source images look like

    def prepare(self):
        super().prepare()
        if self.needs_source():
            self.source = self.find_source().to(self.device)
            log.info(
                "Source: "
                + ", ".join(
                    f"{key} {value}" for key, value in self.source.about.items() if key not in ("classes", "prompts")
                )
            )

    def needs_source(self):
        """Whether the loss looks at source images."""
        return self.options.DISTR_ALIGN

    def find_source(self):
        """-> SourcePrototypes: those of a named file, those that the start run used, or made from its images."""
        o, block = self.options, f"TRAINER.{self.BLOCK}"
        if self.uses_own_copies:
            return self.checked(load_prototypes(self.loaded_from / FILE), str(self.loaded_from / FILE))
        if o.get("VIS_MEANS"):
            source, where = released_statistics(o.VIS_MEANS, o.VIS_VARS), f"{block}.VIS_MEANS {o.VIS_MEANS}"
        elif o.PROTOTYPES:
            source, where = load_prototypes(o.PROTOTYPES), f"{block}.PROTOTYPES {o.PROTOTYPES}"
        elif self.start_run is None:
            raise UserError(
                f"{block}.PROTOTYPES is empty and no run is named to make them from; give --model-dir, "
                f"{block}.START.RUN or the file"
            )
        elif (self.start_run / FILE).is_file():
            source, where = load_prototypes(self.start_run / FILE), str(self.start_run / FILE)
        else:
            configuration = source_configuration(self.start_run, self.cfg.DATASET.ROOT)
            source, where = kept_prototypes(self, configuration, self.random_views(), o.PROTOTYPE_SHOTS)
        self.checked(source, str(where)).save(Path(self.output_dir, FILE))  # the run's folder is enough to use it
        return source

    def checked(self, source, where):
        """The same prototypes, refused where they are of another backbone or of prompts of another shape."""
        check_fits(self, source, where)
        return source

    def random_views(self):
        """Random views of each source image that the prototypes are made of, beside the clean one."""
        return 0

    def stream_sources(self):
        return self.source.tensors if self.needs_source() else {}

    # One batch of images

    def see(self, views):
        features = self.in_chunks(self.image_features, views)
        logits = self.logits(features, self.class_features())
        start = {
            name: value.detach().float().expand(len(views), *value.shape)
            for name, value in self.prompt_learner.named_parameters()
        }
        return Seen(views, features, logits, start)

    def view_features(self, prompts, views):
        """Prompts of N images, views (N, n, 3, S, S) -> features (N, n, E), L2-normalised, and every block's input
        tokens (N, n, T, W)."""
        n = views.shape[1]
        vision, *deep = (prompt.repeat_interleave(n, dim=0) for prompt in (prompts.vision, *prompts.deep_vision))
        features, tokens = self.tower.encode_with_tokens(views.flatten(0, 1), vision, deep)
        return (
            F.normalize(features.float(), dim=-1).unflatten(0, (-1, n)),
            [layer.unflatten(0, (-1, n)) for layer in tokens],
        )

    def adaptation_loss(self, values, seen):
        o, prompts = self.options, self.prompt_learner.prompts(values)
        confident, aligned = (int(o.VIEWS * share) for share in (o.TPT_THRESHOLD, o.ALIGN_THRESHOLD))
        kept = most_confident(seen.entropies, max(confident, aligned))
        features, tokens = self.view_features(prompts, take_views(seen.views, kept))
        parts = []
        if o.TPT_LOSS:
            classes = class_features(self.template, prompts.ctx, prompts.deep_text)  # (N, K, E)
            parts.append(marginal_entropy(self.logits(features[:, :confident], classes)))
        if o.DISTR_ALIGN:
            parts.append(o.DISTR_LOSS_W * self.alignment([layer[:, :aligned] for layer in tokens]))
        return torch.stack(parts).sum(dim=0)

    def alignment(self, tokens):
        """Every block's input tokens (N, n, T, W) of the confident views -> L_align of each image, (N,)."""
        o = self.options
        layers = range(o.ALIGN_LAYER_FROM, o.ALIGN_LAYER_TO)
        summed = layers[:-1] if o.RELEASED_LAYERS else layers
        distances = [token_alignment(tokens[i], self.source.means[i], self.source.variances[i]) for i in summed]
        return torch.stack(distances).sum(dim=0) / len(layers)

    def adapted_logits(self, values, seen):
        prompts = self.prompt_learner.prompts(values)
        features, _ = self.view_features(prompts, seen.views[:, :1])
        classes = class_features(self.template, prompts.ctx, prompts.deep_text)
        return self.logits(features, classes)[:, 0]

    def tokens_of_an_image(self):
        o = self.options
        vision = int(o.VIEWS * o.TPT_THRESHOLD) * (self.tower.visual.positional_embedding.shape[0] + o.N_CTX)
        return max(vision, self.template.tokens.numel())
