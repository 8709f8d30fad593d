"""DPL: domain prompt learning."""

import torch
import torch.nn.functional as F
from torch import nn

from dassl.config.options import between, flag, text, whole
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.losses import accuracy
from promptshift.modeling.prompts import PromptTemplate
from promptshift.modeling.templates import clean_name
from promptshift.modeling.tokens import encode
from promptshift.runs.public_files.public_blocks import precision

SPG_CODE = "SPG's train_baseline.py"


class DomainMLP(nn.Module):
    """Image feature (B, E) -> context vectors (B, M, D).

    `depth` linear layers, `width` wide, with dropout and ReLU between them (DomainBed's MLP, arXiv 2007.01434);
    Xavier-uniform weights and biases of 0.01, so that the first contexts are of the size of token embeddings.

    Raises:
        UserError: fewer than two layers, or no width.
    """

    def __init__(self, embed_dim: int, n_ctx: int, text_width: int, width: int, depth: int, dropout: float):
        super().__init__()
        if depth < 2 or width < 1:
            raise UserError(
                f"TRAINER.DPLCLIP: MLP_DEPTH {depth}, MLP_WIDTH {width}; "
                "allowed: a depth of 2 and more, a width of 1 and more"
            )
        self.input = nn.Linear(embed_dim, width)
        self.hiddens = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 2))
        self.output = nn.Linear(width, n_ctx * text_width)
        self.dropout, self.shape = nn.Dropout(dropout), (n_ctx, text_width)
        for layer in (self.input, *self.hiddens, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.constant_(layer.bias, 0.01)

    def forward(self, features):
        for layer in (self.input, *self.hiddens):
            features = F.relu(self.dropout(layer(features)))
        return self.output(features).unflatten(-1, self.shape)


@TRAINER_REGISTRY.register(aliases=("DPL",))
class DPLCLIP(PromptTrainer):
    """Domain prompt learning (Zhang et al. 2021, arXiv 2111.12853).

    A network F of the image feature makes the context; that of domain d is the mean over its images,
    v_d = 1/N sum_j F(f(x_j)), taken in training over the images of d in the batch.
    logits = exp(logit_scale) * cos(f(x), class features under v_d(x)); cross-entropy.

    Differs from the paper and from SPG's released code: a test image is its own domain, v = F(f(x)), so that its
    logits do not depend on its batch. TRANSDUCTIVE True takes the mean over the test batch, as both of them do:
    numbers then depend on DATALOADER.TEST.BATCH_SIZE and on the order of the images (SPG: 100).
    Readings: F sees the L2-normalised feature; CTX_INIT says only how many vectors are generated ("a photo of a":
    4, SPG's setting), its words are not in the prompt; EMBEDDING_DIM is the text width, 0 reads it off the weights.

    Shapes: B images, K classes, M context vectors, D text width, E embedding, P domains in the batch.
    """

    BLOCK = "DPLCLIP"
    DEFAULTS = dict(
        MLP_WIDTH=whole(512, least=1, source=SPG_CODE),
        MLP_DEPTH=whole(3, least=2, source=SPG_CODE, about="linear layers"),
        MLP_DROPOUT=between(0, 1, 0.1, source=SPG_CODE),
        EMBEDDING_DIM=whole(0, least=0, about="text width; 0: read off the weights"),
        N_CTX=whole(16, least=1, source=SPG_CODE, about="context vectors; with CTX_INIT as many as its tokens"),
        CTX_INIT=text("", about="words that only say how many vectors are generated"),
        PREC=precision(),
        TRANSDUCTIVE=flag(False, about="mean context of the test batch, as the paper; then numbers depend on batches"),
    )

    def build_prompts(self, clip, classnames):
        o = self.options
        if o.EMBEDDING_DIM not in (0, clip.text_width):
            raise UserError(
                f"TRAINER.DPLCLIP.EMBEDDING_DIM: {o.EMBEDDING_DIM} is not the text width of "
                f"'{clip.name}'; allowed: 0, {clip.text_width}"
            )
        n_ctx = len(encode(clip.tokenizer, clean_name(o.CTX_INIT))) or o.N_CTX
        self.template = PromptTemplate(clip, classnames, n_ctx, max_tokens=self.cfg.MODEL.TEXT_CHUNK)
        self.mlp_model = DomainMLP(clip.embed_dim, n_ctx, clip.text_width, o.MLP_WIDTH, o.MLP_DEPTH, o.MLP_DROPOUT)
        return {"mlp_model": self.mlp_model}

    def mean_contexts(self, features, domains):
        """Mean context of each domain, (P, M, D), for images of domains (B,) with indices 0 .. P-1."""
        members = F.one_hot(domains).float()  # (B, P)
        return torch.einsum("bp,bmd->pmd", members / members.sum(dim=0), self.mlp_model(features).float())

    def logits(self, features, contexts, domains):
        """Logits (B, K) of features (B, E), each under the context of its domain."""
        classes = self.template.features_each(contexts).float()  # (P, K, E)
        return self.clip.logit_scale * torch.einsum("be,bke->bk", features, classes[domains])

    def predict_features(self, features):
        own = torch.arange(len(features), device=features.device)
        if self.options.TRANSDUCTIVE:
            return self.logits(features, self.mean_contexts(features, 0 * own), 0 * own)
        return self.logits(features, self.mlp_model(features), own)

    def loss(self, batch):
        features, labels = self.batch_features(batch), batch["label"].to(self.device)
        _, domains = batch["domain"].to(self.device).unique(return_inverse=True)
        logits = self.logits(features, self.mean_contexts(features, domains), domains)
        return {"loss": F.cross_entropy(logits, labels), "acc": accuracy(logits, labels)}
