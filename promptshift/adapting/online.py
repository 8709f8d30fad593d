"""The base of online trainers at test time: what they answer to an image depends on the images before it."""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm
from yacs.config import CfgNode as CN

from dassl.config.options import between, choice, whole
from dassl.utils import atomic_path
from dassl.utils.errors import UserError
from promptshift.adapting.answers import answers_of, diagnostics_of, metrics_of, readable_answers
from promptshift.adapting.reads_views import ReadsViews, check_share
from promptshift.adapting.steps import Seen
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

MEMORY_FILE = "stream.safetensors"  # what the stream remembers, in the run's folder
KEPT_EVERY = 256  # images between two writings of that file; what lies between is seen again after a kill
ONLINE_DEFAULTS = dict(
    VIEWS=whole(1, least=1, about="of an image: the clean one and random ones; 1: the clean one alone"),
    CONFIDENT=between(0, 1, 0.1, about="share of several views that are confident: int(64 * 0.1) = 6"),
    AUGMIX=choice("on", "off", "auto", default="off", about="mix the random views; auto: but for ImageNet's sets"),
)


class Memory(Protocol):
    """What an online trainer keeps of the images that it has seen."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything in it, by name."""

    def restore(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        """Takes back what `tensors` returned."""


class OnlineTrainer(ReadsViews):
    """Goes through the test images once, in an order of the seed, and remembers what it needs of them.

    The order depends on SEED and the images' names alone; it is recorded (`diagnostics`, and `stream.jsonl`, a line an
    image). Images are encoded many at a time and answered one by one, so TEST.TTA_BATCH changes no number. A run that
    was ended takes its memory from `stream.safetensors` and resumes after the last image. Nothing is trained and
    nothing loaded. `predict` and `model_inference` answer under an empty memory and remember nothing;
    `file_probabilities` takes the files in the given order for a stream of its own.

    A subclass has ONLINE_DEFAULTS among its DEFAULTS and implements `build_prompts`, `class_features` and:
      empty_memory() -> Memory
      answer(memory, features (V, E), logits (V, K), place) -> (K,)   remembers the image and answers it

    Shapes: N images, V views, K classes, E embedding.
    """

    online = True  # so a stream cannot be cut into parts that run side by side
    LEARNS = False  # and starts from nothing: protocols make evaluation jobs alone

    @classmethod
    def check_options(cls, cfg: CN) -> None:
        super().check_options(cfg)
        o, shards = cfg.TRAINER[cls.BLOCK], cfg.TEST.get("SHARDS", 1)
        if o.VIEWS > 1:
            check_share(f"TRAINER.{cls.BLOCK}.CONFIDENT", o.CONFIDENT, o.VIEWS)
        if shards > 1:
            raise UserError(
                f"TEST.SHARDS: {shards}; allowed with {cls.__name__}: 1, for its answer to an image depends on "
                "all those before it in the stream"
            )

    def _train_on_stored_views(self, views: int) -> None:
        """Nothing: there is no training."""

    def empty_memory(self) -> Memory:
        """What is remembered before the first image."""
        raise NotImplementedError

    def answer(self, memory: Memory, features: Tensor, logits: Tensor, place: int) -> Tensor:
        """Remembers one image and answers it.

        Args:
            memory: is changed.
            features: (V, E) of its views, L2-normalised; logits: (V, K); both of the confident views alone where
                there are several.
            place: of the image in the stream.

        Returns:
            Logits (K,).
        """
        raise NotImplementedError

    def train(self) -> None:
        log.info("Nothing to train: the test images are a stream")
        self.time_start = time.time()
        self.after_train()

    def after_train(self) -> None:
        self.test()
        self.close_writer()

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Nothing was saved, so nothing is loaded."""

    @torch.no_grad()
    def see(self, views: Tensor) -> Seen:
        """Views (N, V, 3, S, S) -> their features and logits, float32."""
        features = self.in_chunks(self.encode_images, views.to(self.device))
        return Seen(views, features, self.predict_features(features), {})

    def confident(self, seen: Seen) -> Tensor:
        """Indices (N, n) of the views that are looked at, the most confident first."""
        views = seen.logits.shape[1]
        return most_confident(seen.entropies, int(self.options.CONFIDENT * views) if views > 1 else 1)

    @torch.no_grad()
    def answer_all(self, memory: Memory, seen: Seen, places: Sequence[int]) -> Tensor:
        """Logits (N, K) of images in turn, each remembered before the next; `places` are theirs in the stream."""
        kept = self.confident(seen)
        rows = zip(seen.features, seen.logits, kept, places, strict=True)
        return torch.stack([self.answer(memory, f[views], z[views], place) for f, z, views, place in rows])

    # The stream

    def _evaluate(self, data_loader) -> tuple[dict, dict[str, Tensor]]:
        items = data_loader.dataset.data_source
        names, labels = [image_name(item.impath, self.cfg.DATASET.ROOT) for item in items], [x.label for x in items]
        order = stream_order(names, self.cfg.SEED)
        about = {
            "stream": 1,
            "config": config_hash(self.cfg),
            "images": len(items),
            "order": tensors_fingerprint({"order": torch.tensor(order)}),
            "labels": tensors_fingerprint({"labels": torch.tensor(labels)}),
            "start": tensors_fingerprint({"classes": self.class_features()}),
        }
        with own_random_state():
            progress = Progress(Path(self.output_dir, STREAM_FILE), about, [names[i] for i in order])
            self._run_stream(progress, order, items, str(sorted(about.items())))
        self.diagnostics |= diagnostics_of(progress.answers) | {
            "views": self.options.VIEWS,
            "stream": {"seed": self.cfg.SEED, "order": about["order"], "first": [names[i] for i in order[:5]]},
        }
        answers = dict(zip(order, progress.answers, strict=True))
        in_place = [answers[i] for i in range(len(items))]
        return metrics_of(self.evaluator, in_place, labels, self.num_classes), {}

    def _run_stream(self, progress: Progress, order: list[int], items: list, about: str) -> None:
        done, total, size = len(progress.answers), len(order), self.images_at_once()
        path = Path(self.output_dir, MEMORY_FILE)
        memory, first = self._remembered(path, about, done)
        if done:
            log.info(f"The stream goes on behind {done} of {total} images, its memory behind {first} ({path})")
        batches = batches_from(first, total, size, every=size) if done < total else []
        loader = view_loader(
            self.stream_views(items), [[order[i] for i in part] for part in batches], self.cfg.DATALOADER.NUM_WORKERS
        )
        with tqdm(
            total=total, initial=first, unit="image", desc=type(self).__name__, disable=not sys.stderr.isatty()
        ) as bar:
            for places, batch in zip(batches, loader, strict=True):
                answers = self._answers(memory, batch, places, progress.names)
                progress.append(answers[max(0, done - places[0]) :])
                end = places[-1] + 1
                if end // KEPT_EVERY > places[0] // KEPT_EVERY or end == total:
                    _keep(path, memory.tensors(), about, end)
                bar.update(len(places))

    def _answers(self, memory: Memory, batch: dict, places: Sequence[int], names: Sequence[str]) -> list[dict]:
        """One line of the progress file for each image of a batch, in order."""
        start, readable = time.perf_counter(), []
        for problem in filter(None, batch["problem"]):
            log.info(f"unreadable, counted as wrong: {problem}")
        if batch["views"] is not None:
            seen = self.see(batch["views"])
            read = [place for place, problem in zip(places, batch["problem"], strict=True) if not problem]
            logits = self.answer_all(memory, seen, read)
            readable = readable_answers(logits, seen.entropies[:, 0], self.confident(seen), torch.ones(len(read)) > 0)
        seconds = (time.perf_counter() - start) / max(1, len(readable))
        return answers_of([names[i] for i in places], batch["problem"], readable, seconds)

    def _remembered(self, path: Path, about: str, done: int) -> tuple[Memory, int]:
        """The memory on disk and behind how many images it was kept; an empty one where there is none of this stream,
        so that the images are seen again."""
        memory = self.empty_memory()
        found = _kept(path, about) if done else None
        if found is None or found[1] > done:
            return memory, 0
        memory.restore(found[0], self.device)
        return memory, found[1]

    def file_probabilities(self, paths: Sequence[str]) -> Iterator[Tensor]:
        """Class probabilities (K,) of image files, which are a stream in the given order.

        Raises:
            UserError: an image cannot be read.
        """
        memory, place = self.empty_memory(), 0
        for views in self.file_views(paths, self.images_at_once()):
            logits = self.answer_all(memory, self.see(views), range(place, place + len(views)))
            place += len(views)
            yield from logits.softmax(dim=-1).cpu()


def stream_order(names: Sequence[str], seed: int) -> list[int]:
    """Indices of images in the order of their stream, which depends on the seed and their names alone."""

    def key(index: int) -> tuple[bytes, int]:
        return hashlib.blake2b(f"order|{max(seed, 0)}|{names[index]}".encode(), digest_size=8).digest(), index

    return sorted(range(len(names)), key=key)


def _keep(path: Path, tensors: dict[str, Tensor], about: str, done: int) -> None:
    with atomic_path(path) as temporary:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(plain, temporary, {"about": about, "done": str(done)})


def _kept(path: Path, about: str) -> tuple[dict[str, Tensor], int] | None:
    """What `_keep` wrote of this very stream; None where it did not, or where the file is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
            if said.get("about") != about:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}, int(said["done"])
    except (SafetensorError, ValueError, KeyError):
        log.info(f"{path} is unreadable; the images are seen again")
        return None
