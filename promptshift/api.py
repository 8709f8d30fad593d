"""The Python interface: what the commands do, from a notebook, as values and exceptions.

    import promptshift as ps
    run = ps.train("CoOp", "mini", target="sketch", seed=1)
    run.predict(["mug.jpg"])

Every function raises `promptshift.UserError` with the line that the command would print.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dassl.talk import quiet
from dassl.utils.errors import UserError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor
    from yacs.config import CfgNode

    from dassl.engine import TrainerX
    from promptshift.results.record import Record

    Images = str | Path | Image.Image | Sequence[str | Path | Image.Image]


class Run:
    """A finished run, opened from its folder without its images.

    Shapes: N images, K classes, E embedding, S image side.

    Attributes:
        folder: where the run wrote.
        cfg: its frozen configuration.
        record: its `result.json`.
        trainer: its trainer with the tested weights, in eval mode.
        classnames: K class names in label order.
    """

    def __init__(self, folder: str | Path, trained: str | Path | None = None, key: str = "") -> None:
        """Open the run in `folder` with the weights of the run in `trained`, its own when None.

        `key` is what names the folder, for messages.

        Raises:
            UserError: there is no finished run, or no weights.
        """
        from promptshift.results.record import read_result
        from promptshift.runs.reopen import reopen

        self.folder = Path(folder)
        self.trainer: TrainerX = reopen(folder, trained=trained, key=key)
        self.cfg: CfgNode = self.trainer.cfg
        self.record: Record = read_result(self.folder)
        self.classnames: list[str] = [self.trainer.lab2cname[i] for i in range(self.trainer.num_classes)]

    def predict(self, images: Images, top: int | None = None) -> list[dict[str, float]]:
        """Return class name -> probability of every image, the likeliest first.

        Args:
            images: a path, a PIL image, or several of them.
            top: how many classes an image; all when None.

        Raises:
            UserError: an image cannot be read, or `top` is below 1.
        """
        if top is not None and top < 1:
            raise UserError(f"top: {top}, allowed: 1 and more")
        found = []
        for row in self.probabilities(images):
            best = row.topk(min(top or len(row), len(row)))
            found.append({self.classnames[i]: p for p, i in zip(best.values.tolist(), best.indices.tolist())})
        return found

    def probabilities(self, images: Images) -> Tensor:
        """Return class probabilities (N, K), float32 on the CPU; no row depends on another image.

        Raises:
            UserError: an image cannot be read, or is no path where the run adapts to image files.
        """
        import torch

        return torch.stack(list(self.each_probabilities(images)))

    def each_probabilities(self, images: Images) -> Iterator[Tensor]:
        """Yield the class probabilities (K,) of one image after another; see `probabilities`."""
        import torch

        if hasattr(self.trainer, "file_probabilities"):  # adapts to each image, under a seed of its file
            yield from self.trainer.file_probabilities(_paths(images))
            return
        for batch in self._batches(images):
            with torch.no_grad(), quiet():
                rows = self._batch_probabilities(batch).cpu()
            yield from rows

    def _batch_probabilities(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) -> probabilities (B, K); trainers without CLIP have plain logits."""
        if hasattr(self.trainer, "probabilities"):
            return self.trainer.probabilities(images)
        return self.trainer.model_inference(images.to(self.trainer.device)).softmax(dim=-1)

    def logits(self, images: Images) -> Tensor:
        """Return the scores (N, K) that the run's accuracy was measured with, float32 on the CPU.

        Raises:
            UserError: an image cannot be read, or the run adapts to image files and has no scores before.
        """
        import torch

        if hasattr(self.trainer, "file_probabilities"):
            raise UserError(f"{self.folder}: {self._name()} adapts to each image; ask for its probabilities")
        device = self.trainer.device
        with torch.no_grad(), quiet():
            rows = [self.trainer.model_inference(batch.to(device)) for batch in self._batches(images)]
        return torch.cat(rows).float().cpu()

    def features(self, images: Images) -> Tensor:
        """Return image features (N, E) under what the run learnt, L2-normalised, float32 on the CPU.

        Raises:
            UserError: the run's trainer has no image features, as one without CLIP.
        """
        import torch

        encode = self._part("image_features")
        device = self.trainer.device
        with torch.no_grad(), self.trainer.autocast():
            return torch.cat([encode(batch.to(device)).float().cpu() for batch in self._batches(images)])

    def class_features(self) -> Tensor:
        """Return class features (K, E) under what the run learnt, L2-normalised, float32 on the CPU.

        Raises:
            UserError: the run's trainer has none that are the same for all images.
        """
        import torch

        with torch.no_grad(), self.trainer.autocast():
            try:
                return self._part("class_features")().float().cpu()
            except NotImplementedError:
                raise UserError(f"{self.folder}: {self._name()} has no class features of its own") from None

    def _part(self, name: str) -> Any:
        if not hasattr(self.trainer, name):
            raise UserError(f"{self.folder}: {self._name()} has no {name.replace('_', ' ')}")
        return getattr(self.trainer, name)

    def _name(self) -> str:
        return type(self.trainer).__name__

    def _batches(self, images: Images) -> Iterator[Tensor]:
        """Images as the run's tests see them, (B, 3, S, S) each."""
        import torch

        from dassl.data.transforms import build_transform
        from dassl.utils import read_image

        images, size = _listed(images), self.cfg.DATALOADER.TEST.BATCH_SIZE
        transform = build_transform(self.cfg, is_train=False)
        for start in range(0, len(images), size):
            part = images[start : start + size]
            yield torch.stack([transform(_opened(image, read_image)) for image in part])

    def __repr__(self) -> str:
        accuracy = self.record["metrics"]["accuracy"]
        return f"Run({str(self.folder)!r}: {self._name()} on {self.record['dataset']}, accuracy {accuracy:.2f} %)"


def load(folder: str | Path, trained: str | Path | None = None) -> Run:
    """Open a finished run, without its images and without a word.

    Args:
        folder: output folder of the run.
        trained: folder of the run whose weights it tested, for an evaluation of another run; itself when None.

    Raises:
        UserError: there is no finished run, or no weights.
    """
    return Run(folder, trained)


def train(
    trainer: str,
    dataset: str,
    *,
    seed: int = 1,
    target: str = "",
    config: str = "",
    folder: str | Path | None = None,
    verbose: bool = False,
    **options: Any,
) -> Run:
    """Train and test one configuration, or open it where it is finished already.

    Args:
        trainer: a registered trainer, e.g. "CoOp"; see `methods`.
        dataset: a file of configs/datasets, e.g. "mini"; see `datasets`.
        seed: SEED, 0 or above.
        target: the domain to hold out, the first one when empty; for data sets of several domains alone.
        config: a file of configs/trainers/<trainer>; the one that the scripts take when empty.
        folder: where to write; OUTPUT/notebook/<trainer>/<dataset>/... when None.
        verbose: print what train.py prints.
        options: configuration keys and their values, e.g. **{"OPTIM.MAX_EPOCH": 2}; a double underscore stands for
            a dot, as in OPTIM__MAX_EPOCH=2.

    Raises:
        UserError: an unknown name, key or value, or data that are not there.
    """
    from promptshift.runs.config import build_cfg
    from promptshift.runs.outside_files import explained
    from promptshift.runs.run import finished, run

    cfg, _ = build_cfg(_words(trainer, dataset, seed, target, config, folder, options))
    if not finished(cfg):
        with nullcontext() if verbose else quiet(), explained(cfg):
            run(cfg)
    return Run(cfg.OUTPUT_DIR)


def _words(
    trainer: str, dataset: str, seed: int, target: str, config: str, folder: str | Path | None, options: Mapping
) -> list[str]:
    """The command line of `train`."""
    from promptshift.protocols.request import resolve

    pairs = [str(word) for key, value in options.items() for word in (key.replace("__", "."), value)]
    request = resolve("notebook", trainer, [dataset, *pairs], [seed], config)
    domains = request.facts.domains if request.facts else ()
    several = len(domains) > 1
    if target and target not in domains:
        allowed = ", ".join(domains) if several else f"none, {dataset} has no domains to hold out"
        raise UserError(f"target: {target!r} is no domain of {dataset}, allowed: {allowed}")
    target = target or (domains[0] if several else "")
    place = Path(folder) if folder is not None else request.folder / target / f"seed{seed}"
    sources = tuple(name for name in domains if name != target) if several else ()
    call = request.call(place, seed, sources=sources, targets=(target,) if target else ())
    return [*call.argv, "PROTOCOL", ""]


def methods() -> list[str]:
    """Return the names of all trainers, in alphabetical order."""
    from dassl.engine import TRAINER_REGISTRY
    from promptshift.paths import load_plugins

    load_plugins("trainers")
    names = TRAINER_REGISTRY.registered_names()
    return sorted({TRAINER_REGISTRY.get(name).__name__ for name in names}, key=str.lower)


def datasets() -> list[str]:
    """Return the names of all files of configs/datasets, which `train` and the scripts take."""
    from promptshift.paths import checkout, yaml_names

    return [name for name in yaml_names(checkout() / "configs" / "datasets") if "/" not in name]


def _listed(images: Images) -> list:
    return list(images) if isinstance(images, list | tuple) else [images]


def _opened(image: Any, read: Any) -> Image.Image:
    return read(str(image)) if isinstance(image, str | Path) else image.convert("RGB")


def _paths(images: Images) -> list[str]:
    """Paths of images; a method that adapts draws its views from the file's name and bytes."""
    images = _listed(images)
    for image in images:
        if not isinstance(image, str | Path):
            raise UserError(f"this run adapts to image files: give paths, not {type(image).__name__}")
    return [str(image) for image in images]
