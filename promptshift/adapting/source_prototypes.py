"""Prototypes of the images that a run learnt from: made once, kept, and found again."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm
from yacs.config import CfgNode as CN

from dassl.data.data_manager import DatasetWrapper
from dassl.data.datasets import build_dataset
from dassl.data.transforms import build_transform
from dassl.utils.errors import UserError
from promptshift.adapting.stream import StreamViews, tensors_fingerprint
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.modeling.prompts import PromptTemplate
from promptshift.modeling.prototypes import Collector, SourcePrototypes, load_prototypes, weights_identity
from promptshift.modeling.templates import clean_name
from promptshift.modeling.views import ViewTransform
from promptshift.paths import output_root
from promptshift.randomness import own_random_state
from promptshift.runs.config import config_hash
from promptshift.runs.stage_runs import data_fingerprint
from promptshift.runs.stored_config import read_config, with_later_keys

log = logging.getLogger(__name__)

FILE = "prototypes.safetensors"  # in the folder of a run that used them
_IMAGES_AT_ONCE = 64


def source_configuration(folder: Path, root: str) -> CN:
    """Configuration of the run in `folder`, with the data below `root`.

    Raises:
        UserError: the folder has none, or the run is one that starts from another's prompts.
    """
    cfg = with_later_keys(read_config(Path(folder) / "config.yaml"))
    if "START" in cfg.TRAINER.get(getattr(_trainer(cfg), "BLOCK", ""), {}):
        raise UserError(
            f"{folder} is a run of {cfg.TRAINER.NAME}, which learnt nothing from source images; name the "
            "run that it started from"
        )
    cfg.DATASET.ROOT = root
    return cfg


def _trainer(cfg: CN) -> type:
    from dassl.engine import TRAINER_REGISTRY

    return TRAINER_REGISTRY.get(cfg.TRAINER.NAME)


def kept_prototypes(trainer: PromptTrainer, source: CN, views: int, shots: int) -> tuple[SourcePrototypes, Path]:
    """Prototypes under the trainer's prompts of the training images of a source run, from disk or made now.

    Args:
        trainer: has a `prompt_learner` of both towers (MaPLe's) with the prompts of the source run.
        source: configuration of the source run.
        views: random views of each image beside the clean one.
        shots: images per class, 0 for all.

    Returns:
        The prototypes and their file below the output root.
    """
    with own_random_state():
        dataset = build_dataset(source)
        items = _some_of_each_class(dataset.train_x, shots, source.SEED)
        about = _about(trainer, source, dataset, views, shots)
        key = json.dumps([about, data_fingerprint(items, source.DATASET.ROOT), trainer.feature_key])
        backbone = trainer.cfg.MODEL.BACKBONE.NAME.replace("/", "").replace(":", "_")
        path = (
            output_root()
            / "prototypes"
            / source.DATASET.NAME
            / backbone
            / f"{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}.safetensors"
        )
        if path.is_file():
            log.info(f"Prototypes of {len(items)} source images: found at {path}")
            return load_prototypes(path), path
        log.info(f"Prototypes of {len(items)} source images of {source.DATASET.NAME}: making them at {path}")
        prototypes = collect(trainer, items, about)
    prototypes.save(path)
    return prototypes, path


def _some_of_each_class(items: list, shots: int, seed: int) -> list:
    """The first `shots` images of each class in an order that depends on the seed alone; all of them for 0."""
    if shots <= 0:
        return items
    order = list(items)
    random.Random(max(seed, 0)).shuffle(order)
    taken: dict[int, list] = {}
    for item in order:
        if len(taken.setdefault(item.label, [])) < shots:
            taken[item.label].append(item)
    return [item for label in sorted(taken) for item in taken[label]]


def _about(trainer: PromptTrainer, source: CN, dataset, views: int, shots: int) -> dict:
    return {
        "backbone": trainer.cfg.MODEL.BACKBONE.NAME,
        "weights": weights_identity(trainer.clip),
        "precision": trainer.precision,
        "prompts": prompt_shapes(trainer),
        "start": tensors_fingerprint(trainer.prompt_learner.state_dict()),
        "trainer": source.TRAINER.NAME,
        "run": config_hash(source),
        "dataset": source.DATASET.NAME,
        "domains": list(getattr(dataset, "source_domains", ())),
        "split": "train",
        "classes": list(dataset.classnames),
        "seed": source.SEED,
        "views": views,
        "shots": shots,
    }


def prompt_shapes(trainer: PromptTrainer) -> dict[str, list[int]]:
    """Name -> shape of every tensor of a trainer's prompts."""
    return {name: list(tensor.shape) for name, tensor in trainer.prompt_learner.state_dict().items()}


def source_template(trainer: PromptTrainer, classnames: Sequence[str]) -> PromptTemplate:
    """The trainer's text prompts for other class names."""
    return PromptTemplate(
        trainer.clip,
        list(classnames),
        trainer.prompt_learner.template.n_ctx,
        clean_name(trainer.options.CTX_INIT),
        max_tokens=trainer.cfg.MODEL.TEXT_CHUNK,
    )


@torch.no_grad()
def collect(trainer: PromptTrainer, items: list, about: dict) -> SourcePrototypes:
    """Prototypes of images under the trainer's prompts; `about` says how many views and which classes."""
    c, cfg, learner = trainer.cfg.INPUT, trainer.cfg, trainer.prompt_learner
    transform = ViewTransform(build_transform(cfg, is_train=False), c.SIZE, 1 + about["views"], c.RRCROP_SCALE)
    views = StreamViews(DatasetWrapper(cfg, items, transform), cfg.DATASET.ROOT, about["seed"], strict=True)
    loader = DataLoader(
        views,
        max(1, _IMAGES_AT_ONCE // (1 + about["views"])),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        generator=torch.Generator().manual_seed(0),
    )
    prompts = learner()
    collector = Collector(learner.tower, prompts, len(about["classes"]))
    with trainer.autocast():
        for batch in tqdm(loader, unit="batch", desc="prototypes", disable=not sys.stderr.isatty()):
            labels = torch.tensor([items[index].label for index in batch["index"].tolist()])
            collector.add(batch["views"].to(trainer.device), labels)
        text = source_template(trainer, about["classes"]).features(prompts.ctx, prompts.deep_text)
    return collector.finish(text, about)


def check_fits(trainer: PromptTrainer, prototypes: SourcePrototypes, where: str) -> None:
    """Refuses prototypes of another backbone or another shape of prompts.

    Raises:
        UserError: naming the file and what differs.
    """
    about, clip, shapes = prototypes.about, trainer.clip, prompt_shapes(trainer)
    if "weights" in about and about["weights"] != weights_identity(clip):
        raise UserError(
            f"{where}: made with backbone {about['backbone']} (weights {about['weights']}), this run has "
            f"{clip.name} (weights {weights_identity(clip)}); make them again for it"
        )
    if "prompts" in about and about["prompts"] != shapes:
        name = next(name for name in {**about["prompts"], **shapes} if about["prompts"].get(name) != shapes.get(name))
        raise UserError(
            f"{where}: made under prompts of another shape, {name} is {about['prompts'].get(name)} there "
            f"and {shapes.get(name)} here; set N_CTX and PROMPT_DEPTH alike or make them again"
        )
    tower, tokens = trainer.prompt_learner.tower, trainer.prompt_learner.template.n_ctx
    expected = (tower.layers, tower.visual.positional_embedding.shape[0] + tokens, tower.width)
    if tuple(prototypes.means.shape) != expected:
        raise UserError(
            f"{where}: statistics of shape {tuple(prototypes.means.shape)}; this backbone and these "
            f"prompts need {expected} (blocks, tokens, width)"
        )
