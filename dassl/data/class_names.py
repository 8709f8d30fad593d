"""Class names in place of a data manager, for trainers that are built without images."""

from collections.abc import Sequence

from torch.utils.data import DataLoader

from .datasets.base_dataset import DatasetBase, Datum

__all__ = ["ClassNames"]


class _NamedClasses(DatasetBase):
    """A dataset of classes without images."""

    def __init__(self, classnames: Sequence[str]) -> None:
        none: list[Datum] = []
        self._train_x, self._train_u, self._val, self._test = none, None, none, none
        self._classnames = list(classnames)
        self._lab2cname, self._num_classes = dict(enumerate(self._classnames)), len(self._classnames)


class ClassNames:
    """What a trainer needs of its data to predict: the class names in label order, and no image.

    It has the attributes of :class:`DataManager`; every loader is None.
    """

    train_loader_x: DataLoader | None = None
    train_loader_u: DataLoader | None = None
    val_loader: DataLoader | None = None
    test_loader: DataLoader | None = None

    def __init__(self, classnames: Sequence[str], num_source_domains: int = 0) -> None:
        self.dataset = _NamedClasses(classnames)
        self.num_classes, self.lab2cname = self.dataset.num_classes, self.dataset.lab2cname
        self.num_source_domains = num_source_domains
