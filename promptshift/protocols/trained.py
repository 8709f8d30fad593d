"""What an evaluation starts from: the trainer's own run, another trainer's, weights from elsewhere, or nothing.

A trainer that learns nothing before the test says so with LEARNS = False. What it starts from is then the stage that it
declares (`promptshift.runs.stages`), which is trained in that trainer's own folder, or nothing. Any other trainer is
trained itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from dassl.utils.errors import UserError
from promptshift.launch.jobs import Job
from promptshift.protocols.config_files import trainer_file
from promptshift.protocols.request import Request

# Nothing is trained on what an evaluation tests, so no views of its training images are worth storing.
EVALUATION_OPTIONS = ("TEST.SPLIT", "test", "DATALOADER.TRAIN_X.FEATURE_VIEWS", "0")
SHOTS = 16  # of the protocols that fix them, where the configuration says nothing


@dataclasses.dataclass(frozen=True)
class Start:
    """Where evaluations of one seed get their weights.

    Attributes:
        job: the job that trains them, None when nothing is trained here.
        folder: what `--model-dir` names; None when there is nothing to load.
    """

    job: Job | None
    folder: Path | None

    @property
    def evaluation(self) -> dict[str, object]:
        """What `Request.job` is told of an evaluation: its weights and the job that it waits for."""
        return dict(eval_only=True, model_dir=self.folder, after=(self.job.name,) if self.job else ())


def training_request(request: Request) -> Request | None:
    """Returns the request whose training the request's evaluations need: itself, or another trainer's; None for none.

    Raises:
        UserError: the other trainer, or its configuration file, does not exist.
    """
    from dassl.engine import TRAINER_REGISTRY
    from promptshift.runs.stages import declared

    if getattr(TRAINER_REGISTRY.get(request.trainer), "LEARNS", True):
        return request
    for stage in declared(request.cfg):
        name = TRAINER_REGISTRY.get(stage.trainer).__name__
        path = trainer_file(name, request.dataset_file.stem, fallback=stage.config or "default")
        return request.of_trainer(name, path)
    return None


def start(request: Request, seed: int, train: Callable[[Request], Job]) -> Start:
    """Returns what the evaluations of a seed start from.

    Args:
        request: what is to be evaluated.
        seed: of the weights.
        train: makes the training job of a request (for this seed).

    Raises:
        UserError: as `training_request`, or the folder of weights lacks this seed.
    """
    if request.weights:
        folder = Path(request.weights).expanduser().resolve() / f"seed{seed}"
        if not folder.is_dir():
            raise UserError(f"--weights {request.weights}: there is no folder {folder}")
        return Start(None, folder)
    trained = training_request(request)
    job = train(trained) if trained else None
    return Start(job, job.output_dir if job else None)


def trains_itself(request: Request) -> bool:
    """Returns whether the request's own trainer is what a training job runs."""
    return (
        not request.weights
        and (trained := training_request(request)) is not None
        and trained.trainer == request.trainer
    )


def with_shots(request: Request) -> Request:
    """Returns the request with 16 shots unless its configuration names a number of them (0: all images).

    Raises:
        UserError: the dataset has domains, or nothing to train on.
    """
    check_trainable(request)
    return request.with_options("DATASET.NUM_SHOTS", str(SHOTS)) if request.cfg.DATASET.NUM_SHOTS < 0 else request


def check_trainable(request: Request) -> None:
    """Raises a UserError for a dataset with domains or without training images."""
    if request.facts and request.facts.domains:
        raise UserError(
            f"{request.protocol}: {request.dataset} has domains ({', '.join(request.facts.domains)}); "
            "allowed: datasets without domains, e.g. mini_b2n, or another protocol, e.g. multi_source"
        )
    if getattr(request.facts, "test_only", False):
        raise UserError(f"{request.protocol}: {request.dataset} has test images only; nothing can be trained on it")


def in_order(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Returns each job once, what trains before what evaluates."""
    return tuple(sorted(dict.fromkeys(jobs), key=lambda job: not job.trains))
