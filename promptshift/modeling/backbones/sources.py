"""Where published weights come from: caches first, then the network, which is tried once and not waited for."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from dassl.data.download import fetch
from dassl.utils.errors import UserError, shorten
from promptshift.modeling.backbones.architectures import OPENAI_NAMES
from promptshift.modeling.backbones.weights import WEIGHT_FILES

_PATIENCE = 5.0  # seconds until an address that does not answer counts as out of reach
_HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_HUB_CONFIGS = ("open_clip_config.json", "config.json")


class _NotThere(Exception):
    """A source that has not got a file, or does not answer; says why."""


def openai_file(name: str, cache_dir: str | None = None) -> Path:
    """Return OpenAI's weights: of the cache of their own package, of the hub's cache, else downloaded.

    Args:
        name: One of `OPENAI_NAMES`.
        cache_dir: Where downloads are kept; the hub's own place, or `~/.cache/clip`, when None.

    Raises:
        UserError: They are nowhere; one line says which file to put where.
    """
    weights = _published(OPENAI_NAMES[name], "openai")
    try:
        return _find(weights, cache_dir)
    except _NotThere as reason:
        raise UserError(
            f"backbone '{name}': OpenAI's weights are not at {openai_place(name)} and could not be downloaded "
            f"({reason}); put {weights['url']} there or set MODEL.BACKBONE.PATH to it, or use MODEL.BACKBONE.NAME mini"
        ) from None


def cached_openai_file(name: str, cache_dir: str | None = None) -> Path | None:
    """Return OpenAI's weights where a cache has them, None where they would be downloaded; the network is not asked."""
    return _cached(_published(OPENAI_NAMES[name], "openai"), cache_dir)


def openai_place(name: str) -> Path:
    """Return where OpenAI's own package keeps its weights, whether they are there or not."""
    return _url_file(_published(OPENAI_NAMES[name], "openai")["url"], None)


def tagged_file(model: str, tag: str, cache_dir: str | None = None) -> Path:
    """Return the weights of an open_clip `model:tag` pair, of a cache where one has them.

    Raises:
        UserError: They are nowhere; one line says which file is wanted.
    """
    weights = _published(model, tag)
    try:
        return _find(weights, cache_dir)
    except _NotThere as reason:
        file = weights.get("url") or f"{_hub_page(_repository(weights)[0])} ({' or '.join(_repository(weights)[1])})"
        raise UserError(
            f"backbone '{model}:{tag}': its weights are in no cache and could not be downloaded ({reason}); get "
            f"{file} and set MODEL.BACKBONE.PATH to it"
        ) from None


def hub_model(repository: str, cache_dir: str | None = None) -> tuple[Path, Path]:
    """Return the configuration (open_clip's, else transformers') and the weights of a repository of the hub.

    Raises:
        UserError: They are nowhere; one line says what to put where.
    """
    try:
        config = _hub_file(repository, _HUB_CONFIGS, cache_dir)
        ours = config.name == _HUB_CONFIGS[0]
        weights = _hub_file(repository, WEIGHT_FILES if ours else WEIGHT_FILES[-2:], cache_dir)
    except _NotThere as reason:
        raise UserError(
            f"MODEL.BACKBONE.NAME: 'hf-hub:{shorten(repository)}' is in no cache and could not be downloaded "
            f"({reason}); put the files of {_hub_page(repository)} ({_HUB_CONFIGS[0]} and {_HUB_WEIGHTS[0]}, or "
            f"{_HUB_CONFIGS[1]} and {WEIGHT_FILES[-2]}) into a folder and use 'local-dir:FOLDER'"
        ) from None
    return config, weights


def _published(model: str, tag: str) -> dict:
    from open_clip.pretrained import get_pretrained_cfg  # takes a second: only where it is needed

    return get_pretrained_cfg(model, tag)


def _repository(weights: dict) -> tuple[str, Sequence[str]]:
    """Repository of the hub and its files, the first that is there, of an entry of open_clip's list."""
    repository, _, name = weights["hf_hub"].rpartition("/")
    if not name:
        return repository, _HUB_WEIGHTS
    stem, dot, ending = name.rpartition(".")
    return repository, (f"{stem}.safetensors", name) if dot and ending in ("bin", "pth") else (name,)


def _url_file(url: str, cache_dir: str | None) -> Path:
    return Path(cache_dir or "~/.cache/clip").expanduser() / url.rpartition("/")[2]


def _find(weights: dict, cache_dir: str | None) -> Path:
    """Find the weights of an entry of open_clip's list, or raise _NotThere with the reason."""
    if (cached := _cached(weights, cache_dir)) is not None:
        return cached
    url, reasons = weights.get("url", ""), []
    if weights.get("hf_hub"):
        try:
            return _hub_file(*_repository(weights), cache_dir)
        except _NotThere as reason:
            reasons.append(str(reason))
    if url:
        try:
            return _download(url, _url_file(url, cache_dir))
        except _NotThere as reason:
            reasons.append(str(reason))
    raise _NotThere("; ".join(reasons) or "open_clip lists no address")


def _cached(weights: dict, cache_dir: str | None) -> Path | None:
    """The weights of an entry of open_clip's list in a cache: that of OpenAI's own package, else the hub's."""
    url = weights.get("url", "")
    for folder in (None, cache_dir):
        if url and _url_file(url, folder).is_file():
            return _url_file(url, folder)
    return _cached_hub_file(*_repository(weights), cache_dir) if weights.get("hf_hub") else None


def _download(url: str, path: Path) -> Path:
    _reach(url)
    digest = url.split("/")[-2]
    try:
        fetch(url, path, sha256=digest if len(digest) == 64 else None)
    except UserError as error:
        raise _NotThere(shorten(error, 300)) from None
    return path


def _hub_page(repository: str) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{shorten(repository)}"


def _hub_file(repository: str, names: Sequence[str], cache_dir: str | None) -> Path:
    """The first of some files of a repository that the cache has, else the first that the hub has."""
    from huggingface_hub import constants

    try:
        cached = _cached_hub_file(repository, names, cache_dir)
    except ValueError as error:  # not the name of a repository
        raise _NotThere(shorten(error)) from None
    if cached is not None:
        return cached
    if constants.HF_HUB_OFFLINE:
        raise _NotThere("HF_HUB_OFFLINE is set")
    for name in names:
        path = _fetch_from_hub(repository, name, cache_dir)
        if path is not None:
            return path
    raise _NotThere(f"{_hub_page(repository)} has no {' and no '.join(names)}")


def _cached_hub_file(repository: str, names: Sequence[str], cache_dir: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    cached = [try_to_load_from_cache(repository, name, cache_dir=cache_dir) for name in names]
    return next((Path(path) for path in cached if isinstance(path, str) and os.path.isfile(path)), None)


def _fetch_from_hub(repository: str, name: str, cache_dir: str | None) -> Path | None:
    """A file of a repository, None where the repository has none of the name.

    Whether the hub answers is asked once before: `hf_hub_download` asks a hub that does not answer for a minute.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    endpoint = constants.ENDPOINT
    try:
        get_hf_file_metadata(hf_hub_url(repository, name, endpoint=endpoint), timeout=_PATIENCE, endpoint=endpoint)
        return Path(hf_hub_download(repository, name, cache_dir=cache_dir, endpoint=endpoint))
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):  # the connection broke, nobody said that it is not there
            raise _NotThere(shorten(error)) from None
        return None
    except Exception as error:  # httpx, huggingface_hub and the operating system each raise their own
        raise _NotThere(f"{endpoint}: {type(error).__name__}: {shorten(error)}") from None


def _reach(address: str) -> None:
    """Raise _NotThere unless something answers at an address, asked once."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_PATIENCE).close()
    except urllib.error.HTTPError:
        return  # an answer
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise _NotThere(f"{address} does not answer: {shorten(reason)}") from None
