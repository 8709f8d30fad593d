"""From a configuration to loaders of batches."""

import contextlib
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from tabulate import tabulate
from torch.utils.data import DataLoader, Dataset
from yacs.config import CfgNode

from ..utils.errors import UserError
from ..utils.tools import read_image
from .datasets import Datum, build_dataset
from .samplers import SeededIndex, SeededSampler, build_sampler
from .transforms.transforms import build_transform, interpolation_mode

log = logging.getLogger(__name__)

__all__ = ["DataManager", "DatasetWrapper", "build_data_loader"]

Transform = Callable | Sequence[Callable] | None


def build_data_loader(
    cfg: CfgNode,
    sampler_type: str = "SequentialSampler",
    data_source: Sequence[Datum] | None = None,
    batch_size: int = 64,
    n_domain: int = 0,
    n_ins: int = 2,
    tfm: Transform = None,
    is_train: bool = True,
    dataset_wrapper: type[Dataset] | None = None,
) -> DataLoader:
    """Build a loader of dict batches.

    A training set of at least one batch loses its last, smaller batch; nothing else is dropped. Training images are
    augmented under seeds drawn anew every epoch, test images under the same seeds every time.

    Raises:
        UserError: no image, or sampler settings that do not fit the data.
    """
    if not data_source:
        raise UserError(f"dataset {cfg.DATASET.NAME}: the {'training' if is_train else 'evaluation'} set is empty")
    sampler = build_sampler(sampler_type, cfg, data_source, batch_size, n_domain, n_ins)
    seed = max(cfg.SEED, 0)
    wrapper = DatasetWrapper if dataset_wrapper is None else dataset_wrapper
    loader = _EpochLoader(
        wrapper(cfg, data_source, transform=tfm, is_train=is_train),
        batch_size=batch_size,
        sampler=SeededSampler(sampler, None if is_train else seed),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        persistent_workers=is_train and cfg.DATALOADER.NUM_WORKERS > 0,  # read every epoch
        drop_last=is_train and len(data_source) >= batch_size,
        pin_memory=torch.cuda.is_available() and cfg.USE_CUDA,
        worker_init_fn=_seed_worker,
        # The seed of the workers: in training from the global stream, as upstream; evaluating takes nothing out of it.
        generator=None if is_train else torch.Generator().manual_seed(seed),
    )
    if len(loader) == 0:
        raise UserError(
            f"dataset {cfg.DATASET.NAME}: {sampler_type} makes no batch of {batch_size} out of "
            f"{len(data_source)} images; lower DATALOADER.*.BATCH_SIZE"
        )
    return loader


class _EpochLoader(DataLoader):
    """A loader whose workers may outlive an epoch; it draws from the generators what one with new workers draws."""

    under_way = False

    def __iter__(self) -> Iterator:
        if not self.persistent_workers:
            return super().__iter__()
        if self.under_way:  # a pass beside another has workers of its own, which it draws a seed for
            return self._get_iterator()
        if self._iterator is not None:
            torch.empty((), dtype=torch.int64).random_(generator=self.generator)  # the seed of workers made anew
        self.under_way = True
        return _Pass(self, super().__iter__())


class _Pass:
    """Batches of a pass; at its end the loader's workers are free for the next."""

    def __init__(self, loader: _EpochLoader, batches: Iterator) -> None:
        self.loader, self.batches = loader, batches

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        try:
            return next(self.batches)
        except StopIteration:
            self.loader.under_way = False
            raise


def _seed_worker(worker_id: int) -> None:
    """Seed a worker's other generators from torch's, and keep it to one thread."""
    torch.set_num_threads(1)
    _seed_all(torch.initial_seed())


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


@contextlib.contextmanager
def _kept_random_states() -> Iterator[None]:
    """Give the global generators back as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class DataManager:
    """The dataset of a configuration and its loaders.

    Attributes:
        dataset: the :class:`DatasetBase`.
        train_loader_x, train_loader_u, val_loader, test_loader: loaders; None where the dataset has no such set.
        num_classes, num_source_domains, lab2cname: facts that trainers read.
    """

    def __init__(
        self,
        cfg: CfgNode,
        custom_tfm_train: Transform = None,
        custom_tfm_test: Transform = None,
        dataset_wrapper: type[Dataset] | None = None,
    ) -> None:
        dataset = build_dataset(cfg)
        tfm_train = build_transform(cfg, is_train=True) if custom_tfm_train is None else custom_tfm_train
        tfm_test = build_transform(cfg, is_train=False) if custom_tfm_test is None else custom_tfm_test
        loaders = cfg.DATALOADER
        u = loaders.TRAIN_X if loaders.TRAIN_U.SAME_AS_X else loaders.TRAIN_U

        def loader(source: list[Datum] | None, block: CfgNode, is_train: bool) -> DataLoader | None:
            if not source:
                return None
            return build_data_loader(
                cfg,
                block.SAMPLER,
                source,
                block.BATCH_SIZE,
                block.get("N_DOMAIN", 0),
                block.get("N_INS", 16),
                tfm_train if is_train else tfm_test,
                is_train,
                dataset_wrapper,
            )

        self.train_loader_x = loader(dataset.train_x, loaders.TRAIN_X, True)
        self.train_loader_u = loader(dataset.train_u, u, True)
        self.val_loader = loader(dataset.val, loaders.TEST, False)
        self.test_loader = loader(dataset.test, loaders.TEST, False)
        self.dataset = dataset
        self._num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.dataset.num_classes

    @property
    def num_source_domains(self) -> int:
        """Number of source domains in the configuration."""
        return self._num_source_domains

    @property
    def lab2cname(self) -> dict[int, str]:
        """Class index -> class name."""
        return self.dataset.lab2cname

    def show_dataset_summary(self, cfg: CfgNode) -> None:
        """Print name, domains and sizes as a table."""
        rows = [("Dataset", cfg.DATASET.NAME)]
        if cfg.DATASET.SOURCE_DOMAINS:
            rows.append(("Source", ", ".join(cfg.DATASET.SOURCE_DOMAINS)))
        if cfg.DATASET.TARGET_DOMAINS:
            rows.append(("Target", ", ".join(cfg.DATASET.TARGET_DOMAINS)))
        rows.append(("# classes", f"{self.num_classes:,}"))
        for name in ("train_x", "train_u", "val", "test"):
            source = getattr(self.dataset, name)
            if source:
                rows.append((f"# {name}", f"{len(source):,}"))
        log.info(tabulate(rows, disable_numparse=True))


class DatasetWrapper(Dataset):
    """Reads and transforms images.

    An item is a dict: ``img`` (3, H, W) float32 (a list of them for ``DATALOADER.K_TRANSFORMS`` above 1; also
    ``img2``, ``img3``, ... where ``transform`` is a list), ``label``, ``domain``, ``impath``, ``index``, and ``img0``,
    the image merely resized, for ``DATALOADER.RETURN_IMG0``.
    """

    def __init__(
        self, cfg: CfgNode, data_source: Sequence[Datum], transform: Transform = None, is_train: bool = False
    ) -> None:
        from torchvision import transforms as T  # takes a second to import: only where images are read

        self.cfg = cfg
        self.data_source = data_source
        self.transform = transform
        self.is_train = is_train
        self._in_seeded_batch = False  # the batch has seeded this image already
        self.k_tfm = cfg.DATALOADER.K_TRANSFORMS if is_train else 1
        self.return_img0 = cfg.DATALOADER.RETURN_IMG0
        if self.k_tfm > 1 and transform is None:
            raise UserError(f"DATALOADER.K_TRANSFORMS is {self.k_tfm}, but there is no transform to repeat")
        steps = [T.Resize(list(cfg.INPUT.SIZE), interpolation_mode(cfg)), T.ToTensor()]
        if "normalize" in cfg.INPUT.TRANSFORMS:
            steps.append(T.Normalize(cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD))
        self.to_tensor = T.Compose(steps)

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        item = self.data_source[idx]
        output = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": int(idx)}
        img0 = read_image(item.impath)
        if isinstance(idx, SeededIndex) and not self._in_seeded_batch:
            output.update(self.augment(img0, idx.seed))
        else:
            output.update(self._views(img0))
        if self.return_img0:
            output["img0"] = self.to_tensor(img0)
        return output

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """A whole batch: the generators are put aside once for all its images, which costs less than for each."""
        if not all(isinstance(idx, SeededIndex) for idx in indices):
            return [self[idx] for idx in indices]
        items = []
        with _kept_random_states():
            self._in_seeded_batch = True
            try:
                for idx in indices:
                    _seed_all(idx.seed)
                    items.append(self[idx])
            finally:
                self._in_seeded_batch = False
        return items

    def augment(self, img0: Image.Image, seed: int) -> dict[str, Any]:
        """Transform an image under ``seed`` and leave the global generators as they were; -> ``img``, ``img2``..."""
        with _kept_random_states():
            _seed_all(seed)
            return self._views(img0)

    def _views(self, img0: Image.Image) -> dict[str, Any]:
        if self.transform is None:
            return {"img": img0}
        if isinstance(self.transform, list | tuple):
            names = ["img", *(f"img{i + 1}" for i in range(1, len(self.transform)))]
            return {n: self._transform_image(tfm, img0) for n, tfm in zip(names, self.transform, strict=True)}
        return {"img": self._transform_image(self.transform, img0)}

    def _transform_image(self, tfm: Callable, img0: Image.Image) -> Any:
        views = [tfm(img0) for _ in range(self.k_tfm)]
        return views[0] if self.k_tfm == 1 else views
