"""A stream of test images as views, many at a time, and the file that says how far it has come."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dassl.data.data_manager import DatasetWrapper
from dassl.utils import read_image
from dassl.utils.errors import UserError
from dassl.utils.tools import parse_json
from dassl.utils.writing import writing

log = logging.getLogger(__name__)

STREAM_FILE = "stream.jsonl"


def image_name(path: str, root: str) -> str:
    """How an image is called wherever the data folder lies: its path below `root`, else its file name."""
    path, root = os.path.abspath(path), os.path.abspath(os.path.expanduser(root))
    return os.path.relpath(path, root).replace(os.sep, "/") if path.startswith(root + os.sep) else Path(path).name


def view_seed(seed: int, name: str) -> int:
    """The seed (32 bits) of an image's views: it depends on the run's seed and the image's name alone."""
    return int.from_bytes(hashlib.blake2b(f"{max(seed, 0)}|{name}".encode(), digest_size=4).digest(), "big")


class StreamViews(Dataset):
    """Views (V, 3, S, S) of the images of a test set, the same whatever order, batch and worker they are read in.

    An image that cannot be read has no views and a `problem`, unless `strict`.
    """

    __test__ = False  # no test case, whatever pytest makes of the name

    def __init__(self, images: DatasetWrapper, root: str, seed: int, strict: bool):
        self.images, self.root, self.seed, self.strict = images, root, seed, strict

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        path = self.images.data_source[index].impath
        try:
            image = read_image(path)
        except UserError as error:
            if self.strict:
                raise UserError(f"{error} (TEST.STRICT is True)") from None
            return {"index": index, "views": None, "problem": str(error)}
        seed = view_seed(self.seed, image_name(path, self.root))
        return {"index": index, "views": self.images.augment(image, seed)["img"], "problem": ""}


def view_loader(views: StreamViews, batches: Sequence[Sequence[int]], workers: int) -> DataLoader:
    """Loader of the given batches of indices.

    Returns:
        A loader of dicts: `index` and `problem` are lists of every image of the batch, `views` (N, V, 3, S, S) are
        those of its readable images, None where there is none.
    """
    return DataLoader(
        views,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_one_thread,
        generator=torch.Generator().manual_seed(0),
    )


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def _collate(items: list[dict]) -> dict:
    readable = [item["views"] for item in items if item["views"] is not None]
    return {
        "index": [item["index"] for item in items],
        "problem": [item["problem"] for item in items],
        "views": torch.stack(readable) if readable else None,
    }


def batches_from(first: int, end: int, size: int, every: int = 0) -> list[list[int]]:
    """Consecutive indices `first` .. `end` - 1 in batches of at most `size` that do not cross multiples of `every`."""
    batches = []
    while first < end:
        stop = min(end, first + size, (first // every + 1) * every if every else end)
        batches.append(list(range(first, stop)))
        first = stop
    return batches


class Progress:
    """The append-only file of a stream: a line of what it is a stream of, then a line per image in their order.

    A stream that was killed resumes after its last complete line. A file of other images, prompts or settings is
    moved aside.

    Args:
        path: the file.
        header: plain values that name the images and everything else that the answers depend on.
        names: names of the images in their order.

    Raises:
        UserError: a line that is neither complete nor the last one, or is of another image.
    """

    def __init__(self, path: Path, header: dict, names: Sequence[str]):
        self.path, self.names, self.answers = path, names, []
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()  # the process ended while it wrote
        if lines and self._line(lines, 0) != header:
            aside = path.with_name(f"previous-{path.name}")
            log.info(f"{path} is of other images, prompts or settings; it was moved to {aside}")
            os.replace(path, aside)
            lines = []
        for number in range(1, len(lines)):
            self._take(self._line(lines, number), number, names)
        with writing(path), open(path, "r+b" if path.is_file() else "wb") as file:
            file.truncate(sum(map(len, lines)))
            file.seek(0, os.SEEK_END)
            if not lines:
                file.write(_encode(header))

    def _line(self, lines: list[bytes], number: int) -> dict:
        try:
            return parse_json(lines[number])
        except ValueError:
            raise self._damaged(number, "is damaged") from None

    def _damaged(self, number: int, problem: str) -> UserError:
        return UserError(f"{self.path}: line {number + 1} {problem}; delete the file to begin the stream anew")

    def _take(self, answer: dict, number: int, names: Sequence[str]) -> None:
        if number > len(names) or not isinstance(answer, dict) or answer.get("image") != names[number - 1]:
            raise self._damaged(number, "is not of the image that stands there in the test set")
        self.answers.append(answer)

    def append(self, answers: list[dict]) -> None:
        """Adds answers, plain values with the image's name as `image`; they are on disk when this returns."""
        with writing(self.path), open(self.path, "ab") as file:
            file.write(b"".join(map(_encode, answers)))
            file.flush()
            os.fsync(file.fileno())
        self.answers += answers


def _encode(value: dict) -> bytes:
    return json.dumps(value).encode() + b"\n"


def tensors_fingerprint(tensors: dict[str, Tensor]) -> str:
    """16 hex digits over named tensors."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
