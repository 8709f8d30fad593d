"""What the studies of PromptSync (arXiv 2404.07520) share: one target, the images looked at, variants of the method."""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from dassl.data.data_manager import DatasetWrapper
from dassl.talk import quiet
from dassl.utils import set_random_seed
from dassl.utils.errors import UserError
from promptshift.adapting.steps import Values
from promptshift.adapting.stream import StreamViews, batches_from, view_loader
from promptshift.adapting.trainer import AdaptingTrainer, Seen
from promptshift.launch.jobs import Job
from promptshift.protocols.registry import get_protocol, main_protocol
from promptshift.randomness import own_random_state
from promptshift.results.layout import layout_of
from promptshift.runs.reopen import open_trainer
from promptshift.studies.bench import Bench
from promptshift.studies.words import compared

log = logging.getLogger(__name__)

IMAGES = 200  # looked at where the environment variable of that name says nothing
Measure = Callable[[AdaptingTrainer, Values, Seen], dict[str, Tensor]]


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to adapt.

    Attributes:
        label: what it is called in tables.
        trainer: registered name.
        options: values of the trainer's own keys, which win over the user's.
        adapts: False for the prompts that adaptation starts from.
    """

    label: str
    trainer: str = "PromptSync"
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)
    adapts: bool = True


def _promptsync(label: str, align: bool, discriminate: str, entropy: float, adapts: bool = True) -> Variant:
    return Variant(label, "PromptSync", {"ALIGN": align, "DISCRIMINATE": discriminate, "ENTROPY_W": entropy}, adapts)


NONE = _promptsync("no adaptation", True, "once", 0.0, adapts=False)
FULL = _promptsync("PromptSync", True, "once", 0.0)
ALIGNMENT = _promptsync("alignment alone", True, "off", 0.0)
DISCRIMINATION = _promptsync("discrimination alone", False, "once", 0.0)
ENTROPY = _promptsync("PromptSync + entropy", True, "once", 1.0)
PROMPTALIGN = Variant("PromptAlign", "PromptAlign")


@dataclasses.dataclass(frozen=True)
class Adapted:
    """What a variant made of N images.

    Attributes:
        labels: (N,).
        logits: (N, K) of the clean views.
        measured: more of each image, (N, ...) each.
    """

    labels: Tensor
    logits: Tensor
    measured: dict[str, Tensor]

    @property
    def predicted(self) -> Tensor:
        """Predicted classes (N,)."""
        return self.logits.argmax(dim=1)

    @property
    def right(self) -> Tensor:
        """100 where the prediction is right, 0 elsewhere, (N,); the mean is the accuracy in percent."""
        return 100 * (self.predicted == self.labels).double()


class Target:
    """One target: the last domain held out or, for a dataset without domains, the new half; of the first seed alone.

    The run to start from is the protocol's own (of MaPLe), made first where it is missing; nothing is chosen by looking
    at the target.

    Raises:
        UserError: the dataset can be neither held out by domain nor split into halves, or a run failed.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench, self.seed = bench, bench.seeds[0]
        request = bench.request("PromptSync")
        self.protocol = main_protocol(request)
        self.layout = layout_of(self.protocol)
        backbone = request.backbone.replace("/", "").replace(":", "_")
        self.place = f"{request.dataset}-{backbone}"
        self._jobs: dict[str, Job] = {}
        self._trainers: dict[str, tuple[AdaptingTrainer, dict[str, Tensor]]] = {}  # with the prompts to start from
        column = self._job("PromptSync").cell[1]
        self.about = f"{self.place}, {self.layout.held_out(column)}, seed {self.seed}"

    def _job(self, trainer: str) -> Job:
        """Return the trainer's job on the target; what it waits for is run."""
        if trainer not in self._jobs:
            request = self.bench.request(trainer, protocol=self.protocol)
            jobs = [job for job in get_protocol(self.protocol)(request).jobs if job.seed == self.seed]
            last = self.layout.ordered(job.cell[1] for job in jobs)[-1]  # the last domain by name, or "New"
            job = next(job for job in jobs if job.cell[1] == last)
            self.bench.run([other for other in jobs if other.name in job.after])
            self._jobs[trainer] = job
        return self._jobs[trainer]

    def _trainer(self, name: str) -> AdaptingTrainer:
        """Return the trainer with the prompts to start from; it is built once."""
        if name not in self._trainers:
            self.bench.leave_plan()
            log.info(f"{name} on {self.about}; MaPLe's prompts are learnt first unless they have been")
            job = self._job(name)
            with own_random_state(), quiet():
                set_random_seed(max(job.cfg.SEED, 0))
                trainer = open_trainer(job.cfg, job.call.model_dir)
                if not job.call.model_dir:
                    trainer.load_start()
            trainer.options.defrost()
            start = {key: value.clone() for key, value in trainer.prompt_learner.state_dict().items()}
            self._trainers[name] = trainer, start
        return self._trainers[name][0]

    def prepared(self, variant: Variant) -> AdaptingTrainer:
        """Return the variant's trainer with the prompts to start from, prepared for a stream if it adapts; what it was
        before is gone."""
        trainer = self._trainer(variant.trainer)
        trainer.prompt_learner.load_state_dict(self._trainers[variant.trainer][1])  # discrimination moves them
        trainer.options.update(variant.options)
        if variant.adapts:
            with (
                own_random_state(),
                tempfile.TemporaryDirectory() as scratch,
                quiet(),
            ):
                trainer.output_dir = scratch  # of the copy of the prototypes that a run keeps
                trainer.prepare()
        return trainer

    def labels(self) -> list[int]:
        """Return the label of every test image of the target."""
        return [item.label for item in self._trainer("PromptSync").test_loader.dataset.data_source]

    def choose(self) -> list[int]:
        """Return `IMAGES` (environment; 0: all) row numbers of test images, drawn and ordered by the seed."""
        total, wanted = len(self.labels()), whole("IMAGES", IMAGES)
        return random.Random(self.seed).sample(range(total), min(wanted or total, total))

    def adapted(self, variant: Variant, rows: Sequence[int], measure: Measure | None = None) -> Adapted:
        """Return what a variant makes of some test images.

        Args:
            rows: their numbers among the test images.
            measure: (trainer, values after adapting, what was seen before) -> more of each image, (N, ...) each.
        """
        trainer = self.prepared(variant)
        log.info(f"{variant.label}: {len(rows)} images")
        items = [trainer.test_loader.dataset.data_source[row] for row in rows]
        parts = [_one_batch(trainer, views, variant.adapts, measure) for views in _batches(trainer, items)]
        found = {name: torch.cat([part[name].float().cpu() for part in parts]) for name in parts[0]}
        return Adapted(torch.tensor([item.label for item in items]), found.pop("logits"), found)


def _batches(trainer: AdaptingTrainer, items: list) -> Iterator[Tensor]:
    """Yield views (N, V, 3, S, S) of the images, those that a stream of them has."""
    cfg = trainer.cfg
    views = StreamViews(DatasetWrapper(cfg, items, trainer.view_transform()), cfg.DATASET.ROOT, cfg.SEED, strict=True)
    batches = batches_from(0, len(items), trainer.images_at_once())
    for batch in view_loader(views, batches, cfg.DATALOADER.NUM_WORKERS):
        yield batch["views"]


def _one_batch(trainer: AdaptingTrainer, views: Tensor, adapts: bool, measure: Measure | None) -> dict[str, Tensor]:
    if adapts:
        values, seen, _ = trainer.adapted_values(views)
    with torch.no_grad(), trainer.autocast():
        if not adapts:
            seen = trainer.see(views.to(trainer.device))
            values = seen.start
        logits = trainer.adapted_logits(values, seen) if adapts else seen.logits[:, 0]
        return {"logits": logits, **(measure(trainer, values, seen) if measure else {})}


def whole(name: str, default: int, least: int = 0) -> int:
    """Return the whole number in an environment variable.

    Raises:
        UserError: it is something else or less than `least`.
    """
    text = os.environ.get(name, "") or str(default)
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{name}: {text!r}, allowed: whole numbers of at least {least}")
    return int(text)


def over_images(first: str, a: Tensor, second: str, b: Tensor, what: str = "images") -> str:
    """Return how `first` differs from `second` in a number of each image, (N,) each, in words with its interval."""
    return compared(first, by_row(a), second, by_row(b), (what, what), what)


def by_row(values: Tensor) -> Mapping[int, float]:
    """Return values (N,) by their row number."""
    return dict(enumerate(values.tolist()))
