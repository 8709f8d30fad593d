"""One look before the first job of a plan: size, weights, data and disk; one cause is one line, not one per job."""

from __future__ import annotations

import os
import shutil
import socket
import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path

from yacs.config import CfgNode as CN

from dassl.utils.errors import UserError
from promptshift.launch.jobs import Job
from promptshift.paths import output_root

_LEAST_FREE = 200 * 2**20  # bytes: what a run's log, checkpoints and record may take
_MOST_COUNTED = 50_000  # images of a dataset that are counted; listing more takes longer than a look may
_PATIENCE = 3.0  # seconds that a server has to answer


def look(jobs: Sequence[Job]) -> list[str]:
    """Return what a user should know before the jobs that are not finished start; a line each.

    Raises:
        UserError: they cannot run; the line says what is missing or does not fit, and what to do.
    """
    todo = [job.cfg for job in jobs if job.always or job.record() is None]
    for cfg in _once(todo, "INPUT.SIZE", "MODEL.BACKBONE.NAME", "MODEL.BACKBONE.PATH"):
        _check_size(cfg)
        _check_weights(cfg)
    for cfg in _once(todo, "DATASET.NAME", "DATASET.ROOT", "DATASET.SOURCE_DOMAINS", "DATASET.TARGET_DOMAINS"):
        _check_data(cfg)
    if todo:
        _check_disk(output_root())
    return [line for cfg in _once(todo, "DATASET.NAME", "DATASET.ROOT") for line in _gaps(cfg)]


def _once(cfgs: Iterable[CN], *keys: str) -> list[CN]:
    """Return the first configuration for every combination of values."""
    found: dict[str, CN] = {}
    for cfg in cfgs:
        found.setdefault(repr([_value(cfg, key) for key in keys]), cfg)
    return list(found.values())


def _value(cfg: CN, key: str) -> object:
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def _check_size(cfg: CN) -> None:
    """Refuse images of another size than a backbone takes that is known without its weights."""
    from promptshift.mini.weights import SHA256
    from promptshift.modeling.backbones.embedded import EMBEDDED
    from promptshift.modeling.clip import OPENAI_NAMES

    name, size = cfg.MODEL.BACKBONE.NAME, tuple(cfg.INPUT.SIZE)
    if cfg.MODEL.BACKBONE.PATH or name not in (*OPENAI_NAMES, *SHA256):
        return
    embedded = name in SHA256
    side = EMBEDDED[name](name)[1]["image_size"] if embedded else 336 if "336" in name else 224
    if size == (side, side):
        return
    raise UserError(
        f"INPUT.SIZE: {size} does not fit backbone '{name}', which takes ({side}, {side}); "
        f"set CFG={'mini' if embedded else 'default'} for a configuration file that fits, or MODEL.BACKBONE.NAME to a "
        f"backbone for these images, e.g. {'ViT-B/16' if embedded else 'mini'}"
    )


def _check_weights(cfg: CN) -> None:
    """Refuse weights that are neither here nor to be had."""
    from promptshift.modeling.backbones.sources import cached_openai_file, openai_place
    from promptshift.modeling.backbones.weights import weight_file
    from promptshift.modeling.clip import OPENAI_NAMES

    name, path = cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.PATH
    if path:
        weight_file(path)
        return
    if name not in OPENAI_NAMES or cached_openai_file(name) is not None:
        return
    if not _answers(["https://openaipublic.azureedge.net", "https://huggingface.co"]):
        raise UserError(
            f"backbone '{name}': OpenAI's weights are not at {openai_place(name)} and no network reaches them; put "
            "the file there or set MODEL.BACKBONE.PATH, or use MODEL.BACKBONE.NAME mini"
        )


def _check_data(cfg: CN) -> None:
    """Refuse a dataset that is not there where nothing can be downloaded; half of one is found by `_gaps`."""
    from datasets._facts import DomainSet, resolve_domains
    from datasets._obtain import obtain, obtain_images

    facts, options = _facts(cfg), cfg.DATASET
    if facts is None or facts.rendered or not (facts.domains or getattr(facts, "images", "")):
        return
    root = os.path.abspath(os.path.expanduser(options.ROOT))
    try:
        if isinstance(facts, DomainSet):
            used = [*options.SOURCE_DOMAINS, *options.TARGET_DOMAINS] or facts.domains
            obtain(facts, root, resolve_domains(facts, used, "DATASET"), download=False)
        else:
            obtain_images(facts, root, download=False)
    except UserError as error:
        links = [file.link for file in (*facts.archives, *getattr(facts, "files", ()))]
        if options.DOWNLOAD and _answers(links):
            return  # the first job gets it
        reason = "no network reaches what would be downloaded" if options.DOWNLOAD else "DATASET.DOWNLOAD is False"
        raise UserError(str(error).replace("DATASET.DOWNLOAD is False", reason)) from None


def _facts(cfg: CN):
    """Return the facts of a dataset of the published kinds, None for others."""
    from dassl.data.datasets import DATASET_REGISTRY
    from datasets._facts import DomainSet
    from datasets._image_facts import ImageSet

    dataset = DATASET_REGISTRY.get(cfg.DATASET.NAME)
    facts = getattr(dataset, "facts", None)
    return facts if isinstance(facts, DomainSet | ImageSet) else None


def _gaps(cfg: CN) -> list[str]:
    """Return a line for a dataset with other numbers of images than published; large ones are not counted."""
    from datasets._check import check_dataset
    from datasets._facts import DomainSet

    facts = _facts(cfg)
    if not isinstance(facts, DomainSet) or facts.rendered or None in facts.totals.values():
        return []
    wanted = sum(facts.totals.values())
    if wanted > _MOST_COUNTED:
        return []
    report = check_dataset(cfg.DATASET.NAME, os.path.abspath(os.path.expanduser(cfg.DATASET.ROOT)))
    found = sum(domain.found for domain in report.domains)
    if found == wanted or not found:
        return []
    return [f"warning: {facts.name} has {found:,} images, {wanted:,} are published; see promptshift data check"]


def _check_disk(folder: Path) -> None:
    """Refuse an output folder on a full disk."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE:
        raise UserError(
            f"OUTPUT: {free / 2**20:,.0f} MiB are free on the disk of {folder}, a run may need "
            f"{_LEAST_FREE / 2**20:,.0f}; make room, or set OUTPUT to another disk"
        )


def _answers(links: Iterable[str]) -> bool:
    """Return whether a server of some addresses takes a connection."""
    hosts = dict.fromkeys(urllib.parse.urlsplit(link).hostname for link in links)
    for host in filter(None, hosts):
        try:
            socket.create_connection((host, 443), _PATIENCE).close()
            return True
        except OSError:
            continue
    return False
