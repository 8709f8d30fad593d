"""CoOp on the public API."""

import os.path as osp

import torch
from torch import nn
from torch.cuda.amp import GradScaler, autocast
from torch.nn import functional as F

from clip import clip
from clip.simple_tokenizer import SimpleTokenizer as _Tokenizer
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import load_checkpoint, load_pretrained_weights

_tokenizer = _Tokenizer()


def clip_on_cpu(cfg, design_details=None):
    file = clip._download(clip._MODELS[cfg.MODEL.BACKBONE.NAME])
    try:
        state = torch.jit.load(file, map_location="cpu").eval().state_dict()
    except RuntimeError:
        state = torch.load(file, map_location="cpu")
    return clip.build_model(state, design_details) if design_details else clip.build_model(state)


class TextEncoder(nn.Module):
    """Prompt embeddings (K, 77, D) -> class features (K, E); the transformer takes its tokens first."""

    def __init__(self, clip_model):
        super().__init__()
        self.transformer, self.ln_final = clip_model.transformer, clip_model.ln_final
        self.positional_embedding, self.text_projection = clip_model.positional_embedding, clip_model.text_projection
        self.dtype = clip_model.dtype

    def forward(self, prompts, tokenized, deep=None):
        x = prompts.type(self.dtype) + self.positional_embedding.type(self.dtype)
        x = x.permute(1, 0, 2)
        x = self.transformer(x) if deep is None else self.transformer([x, deep, 0])[0]
        x = self.ln_final(x.permute(1, 0, 2)).type(self.dtype)
        ends = tokenized.argmax(dim=-1)
        return x[torch.arange(len(x)), ends] @ self.text_projection


class PromptLearner(nn.Module):
    def __init__(self, n_ctx, words, classnames, clip_model):
        super().__init__()
        width, dtype = clip_model.ln_final.weight.shape[0], clip_model.dtype
        if words:
            n_ctx = min(n_ctx, len(words.split()))
            with torch.no_grad():
                ctx = clip_model.token_embedding(clip.tokenize(words)).type(dtype)[0, 1 : 1 + n_ctx]
        else:
            ctx = nn.init.normal_(torch.empty(n_ctx, width, dtype=dtype), std=0.02)
        self.ctx = nn.Parameter(ctx)
        names = [name.replace("_", " ") for name in classnames]
        self.name_lens = [len(_tokenizer.encode(name)) for name in names]
        start = words or " ".join(["X"] * n_ctx)
        self.tokenized_prompts = torch.cat([clip.tokenize(f"{start} {name}.") for name in names])
        with torch.no_grad():
            embedding = clip_model.token_embedding(self.tokenized_prompts).type(dtype)
        self.register_buffer("token_prefix", embedding[:, :1])
        self.register_buffer("token_suffix", embedding[:, 1 + n_ctx :])

    def forward(self):
        ctx = self.ctx.unsqueeze(0).expand(len(self.token_prefix), -1, -1)
        return torch.cat([self.token_prefix, ctx, self.token_suffix], dim=1)


class CustomCLIP(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        self.prompt_learner = self.learner(cfg, classnames, clip_model)
        self.image_encoder, self.text_encoder = clip_model.visual, TextEncoder(clip_model)
        self.logit_scale, self.dtype = clip_model.logit_scale, clip_model.dtype

    def learner(self, cfg, classnames, clip_model):
        return PromptLearner(cfg.TRAINER.COOP.N_CTX, cfg.TRAINER.COOP.CTX_INIT, classnames, clip_model)

    def features(self, image):
        images = self.image_encoder(image.type(self.dtype))
        return images, self.text_encoder(self.prompt_learner(), self.prompt_learner.tokenized_prompts)

    def forward(self, image):
        images, texts = (x / x.norm(dim=-1, keepdim=True) for x in self.features(image))
        return self.logit_scale.exp() * images @ texts.t()


@TRAINER_REGISTRY.register()
class CoOp(TrainerX):
    block, registered, model_class = "COOP", "prompt_learner", CustomCLIP

    def check_cfg(self, cfg):
        assert cfg.TRAINER[self.block].PREC in ("fp16", "fp32", "amp")

    @staticmethod
    def design(cfg):
        return None

    @staticmethod
    def learns(name):
        return "prompt_learner" in name

    def build_model(self):
        cfg = self.cfg
        clip_model = clip_on_cpu(cfg, self.design(cfg))
        if cfg.TRAINER[self.block].PREC in ("fp32", "amp"):
            clip_model.float()
        self.model = self.model_class(cfg, self.dm.dataset.classnames, clip_model)
        for name, param in self.model.named_parameters():
            param.requires_grad_(self.learns(name))
        saved = self.model.prompt_learner if self.registered == "prompt_learner" else self.model
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.model.prompt_learner, cfg.MODEL.INIT_WEIGHTS)
        self.model.to(self.device)
        self.optim = build_optimizer(saved, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model(self.registered, saved, self.optim, self.sched)
        self.scaler = GradScaler() if cfg.TRAINER[self.block].PREC == "amp" else None
        if torch.cuda.device_count() > 1:
            self.model = nn.DataParallel(self.model)

    def forward_backward(self, batch):
        image, label = self.parse_batch_train(batch)
        if self.scaler is None:
            output = self.model(image)
            loss = F.cross_entropy(output, label)
            self.model_backward_and_update(loss)
        else:
            with autocast():
                output = self.model(image)
                loss = F.cross_entropy(output, label)
            self.optim.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optim)
            self.scaler.update()
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item(), "acc": compute_accuracy(output, label)[0].item()}

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def load_model(self, directory, epoch=None):
        if not directory:
            return
        file = "model-best.pth.tar" if epoch is None else f"model.pth.tar-{epoch}"
        for name in self.get_model_names():
            path = osp.join(directory, name, file)
            if not osp.exists(path):
                raise FileNotFoundError(path)
            state = load_checkpoint(path)["state_dict"]
            fixed = [key for key in state if key.endswith(("token_prefix", "token_suffix"))]
            for key in fixed:
                del state[key]
            self._models[name].load_state_dict(state, strict=False)
