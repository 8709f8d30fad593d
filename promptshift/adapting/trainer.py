"""The base of trainers that learn at test time, on one image and its views alone."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm
from yacs.config import CfgNode as CN

from dassl.config.options import at_least, between, choice, whole
from dassl.talk import quiet
from dassl.utils.errors import UserError
from promptshift.adapting.answers import answers_of, diagnostics_of, metrics_of, readable_answers
from promptshift.adapting.reads_views import ReadsViews, check_share
from promptshift.adapting.start import START_DEFAULTS, StartsFromRun
from promptshift.adapting.steps import Seen, Values, adapt
from promptshift.adapting.stream import (
    STREAM_FILE,
    Progress,
    batches_from,
    image_name,
    tensors_fingerprint,
    view_loader,
)
from promptshift.modeling.views import most_confident
from promptshift.randomness import own_random_state
from promptshift.runs.config import config_hash

log = logging.getLogger(__name__)

HALF_PRECISION_SCALE = 1000.0  # of the loss in the backward pass, as the released codes' scaler begins

TPT = "arXiv 2209.07511"
TEST_TIME_DEFAULTS = dict(
    VIEWS=whole(64, least=2, source=TPT, about="of an image: the clean one and random ones"),
    TPT_THRESHOLD=between(0, 1, 0.1, source=TPT, about="share of the views that are confident: int(64 * 0.1) = 6"),
    TTA_STEPS=whole(1, least=1, source=TPT),
    LR=at_least(0, 5e-3, source=TPT, about="of AdamW, made anew for every image"),
    WEIGHT_DECAY=at_least(0, 0.01, source="torch's AdamW, as TPT's tpt_classification.py leaves it"),
    AUGMIX=choice("on", "off", "auto", default="off", about="mix the random views; auto: but for ImageNet's sets"),
    **START_DEFAULTS,
)


class AdaptingTrainer(ReadsViews, StartsFromRun):
    """Adapts prompts to every test image by itself and predicts its clean view; nothing is learnt before.

    Each image starts anew from the same prompts (`StartsFromRun`). Many images are adapted at once (TEST.TTA_BATCH, 0
    for as many as MODEL.TEXT_CHUNK tokens hold) with the numbers of one at a time. An interrupted run resumes after
    the last image in `stream.jsonl`. `predict` and `model_inference` are those of the prompts that adaptation starts
    from; `file_probabilities` adapts.

    A subclass implements build_prompts and:
      see(views) -> Seen                         without gradients, before adapting
      adaptation_loss(values, seen) -> (N,)      one loss an image
      adapted_logits(values, seen) -> (N, K)     of the clean views

    Shapes: N images, V views, K classes, E embedding, S image side.
    """

    FROZEN_IMAGES = False  # nothing is cached: every image is read as views

    @classmethod
    def check_options(cls, cfg: CN) -> None:
        super().check_options(cfg)
        o, block = cfg.TRAINER[cls.BLOCK], f"TRAINER.{cls.BLOCK}"
        check_share(f"{block}.TPT_THRESHOLD", o.TPT_THRESHOLD, o.VIEWS)

    def build_model(self) -> None:
        super().build_model()
        if self.num_classes < 2:
            raise UserError(
                f"DATASET.NAME: {self.cfg.DATASET.NAME} has one class ({self.lab2cname[0]}), so there is "
                f"nothing to predict; {type(self).__name__} needs 2 and more"
            )
        self.uses_own_copies = False  # of what the run was made with, those in its folder

    def _train_on_stored_views(self, views: int) -> None:
        """Nothing: the key is the stage's, which trains; this trainer does not."""

    # One batch of images

    def see(self, views: Tensor) -> Seen:
        """Views (N, V, 3, S, S) -> what the prompts say before they are adapted."""
        raise NotImplementedError

    def adaptation_loss(self, values: Values, seen: Seen) -> Tensor:
        """One loss an image (N,) under values (N, ...)."""
        raise NotImplementedError

    def adapted_logits(self, values: Values, seen: Seen) -> Tensor:
        """Logits (N, K) of the clean views under values (N, ...)."""
        raise NotImplementedError

    def logits(self, features: Tensor, classes: Tensor) -> Tensor:
        """Image features (N, n, E), class features (N, K, E) or (K, E), all L2-normalised -> (N, n, K).

        In float32 under autocast, too: rounded logits turn the sign of many small gradients.
        """
        with torch.autocast(self.device.type, enabled=False):
            return self.clip.logit_scale * features.float() @ classes.float().mT

    def adapts(self) -> bool:
        """Whether there is anything to adapt to an image."""
        return True

    def confident(self, seen: Seen) -> Tensor:
        """Indices (N, n) of the most confident views, the most confident first."""
        return most_confident(seen.entropies, int(self.options.VIEWS * self.options.TPT_THRESHOLD))

    def adapt(self, views: Tensor) -> tuple[Tensor, Seen, Tensor]:
        """Views (N, V, 3, S, S) -> logits (N, K) of the clean views after adapting, what was seen before, (N,) whether
        the steps were made."""
        values, seen, whole = self.adapted_values(views)
        with torch.no_grad(), self.autocast():
            return self.adapted_logits(values, seen).float(), seen, whole

    def adapted_values(self, views: Tensor) -> tuple[Values, Seen, Tensor]:
        """Views (N, V, 3, S, S) -> values (N, ...) after adapting, what was seen before, (N,) whether the steps were
        made."""
        o = self.options
        with torch.no_grad(), self.autocast():
            seen = self.see(views.to(self.device))
        values, whole = seen.start, torch.ones(len(views), dtype=torch.bool)
        if self.adapts():

            def loss(values: Values) -> Tensor:
                with self.autocast():
                    return self.adaptation_loss(values, seen)

            values, whole = adapt(values, loss, o.TTA_STEPS, o.LR, o.WEIGHT_DECAY, self.loss_scale)
        return values, seen, whole

    @property
    def loss_scale(self) -> float:
        """Factor on the loss in the backward pass."""
        return HALF_PRECISION_SCALE if self.precision in ("amp", "fp16") else 1.0

    def images_at_once(self) -> int:
        """TEST.TTA_BATCH, or as many images as the bounds on tokens and on the memory of the views allow."""
        bound, chunk = super().images_at_once(), self.cfg.MODEL.TEXT_CHUNK
        return bound if self.cfg.TEST.TTA_BATCH else max(1, min(bound, chunk // self.tokens_of_an_image()))

    def tokens_of_an_image(self) -> int:
        """Tokens that run with gradients for one image, in the larger of the two towers."""
        raise NotImplementedError

    # The stream

    def prepare(self) -> None:
        """Hook before a stream, when the prompts to start from are there."""

    def stream_sources(self) -> dict[str, Tensor]:
        """Tensors that the answers depend on besides the configuration, the images and the prompts to start from."""
        return {}

    def stream_batches(self, first: int, end: int) -> list[list[int]]:
        """Indices of the images `first` to `end` - 1 that are adapted together."""
        return batches_from(first, end, self.images_at_once())

    def _evaluate(self, data_loader) -> tuple[dict, dict[str, Tensor]]:
        items = data_loader.dataset.data_source
        names, labels = [image_name(item.impath, self.cfg.DATASET.ROOT) for item in items], [x.label for x in items]
        self.keep_start()
        sources = {
            "start": tensors_fingerprint(self._start_tensors()),
            "labels": tensors_fingerprint({"labels": torch.tensor(labels)}),
        }
        with own_random_state():
            self.prepare()
            sources["others"] = tensors_fingerprint(self.stream_sources())
            progress = Progress(
                Path(self.output_dir, STREAM_FILE),
                {"stream": 1, "config": config_hash(self.cfg), "images": len(items), **sources},
                names,
            )
            self._run_stream(progress, names, items)
        self.diagnostics |= {
            "views": self.options.VIEWS,
            **diagnostics_of(progress.answers),
            "start_run": str(self.start_run) if self.start_run else "",
        }
        return metrics_of(self.evaluator, progress.answers, labels, self.num_classes), {}

    def _start_tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": value
            for name in self.get_model_names()
            for key, value in self._models[name].state_dict().items()
        }

    def _run_stream(self, progress: Progress, names: list[str], items: list) -> None:
        done, total = len(progress.answers), len(names)
        if done:
            log.info(f"The stream resumes after {done} of {total} images ({progress.path})")
        batches = self.stream_batches(done, total)
        views = self.stream_views(items)
        with tqdm(
            total=total, initial=done, unit="image", desc=type(self).__name__, disable=not sys.stderr.isatty()
        ) as bar:
            for batch in view_loader(views, batches, self.cfg.DATALOADER.NUM_WORKERS):
                progress.append(self._answers(batch, [names[i] for i in batch["index"]]))
                bar.update(len(batch["index"]))

    def _answers(self, batch: dict, names: list[str]) -> list[dict]:
        """One line of the progress file for each image of a batch, in order."""
        start, readable = time.perf_counter(), []
        for problem in filter(None, batch["problem"]):
            log.info(f"unreadable, counted as wrong: {problem}")
        if batch["views"] is not None:
            logits, seen, whole = self.adapt(batch["views"])
            readable = readable_answers(logits, seen.entropies[:, 0], self.confident(seen), whole)
        return answers_of(names, batch["problem"], readable, (time.perf_counter() - start) / max(1, len(readable)))

    def file_probabilities(self, paths: Sequence[str]) -> Iterator[Tensor]:
        """Class probabilities (K,) of image files, adapted to each; needs the folder of the run alone.

        Raises:
            UserError: an image cannot be read.
        """
        self.uses_own_copies = True
        with quiet():  # the caller prints answers alone
            self.prepare()
        for views in self.file_views(paths, self.images_at_once()):
            yield from self.adapt(views)[0].softmax(dim=-1).cpu()
