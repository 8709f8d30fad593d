"""One labelled image, and the base of all datasets."""

import logging
import os
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from ...utils.errors import UserError, suggest

log = logging.getLogger(__name__)

__all__ = ["IMAGE_SUFFIXES", "DataFiles", "DatasetBase", "Datum"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class DataFiles(NamedTuple):
    """What a dataset was read from: a run is stale when any of it changed.

    Attributes:
        folders: folders of images, with all below them.
        files: split files and lists, those included that would be read if they were there.
        skipped: names of sub-folders that hold no images of the dataset.
    """

    folders: tuple[str, ...]
    files: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


class Datum:
    """Where an image is and what it shows. The file itself is looked at when it is read, not here.

    Args:
        impath: path of the image.
        label: class index, from 0.
        domain: domain index, from 0.
        classname: name of the class.

    Raises:
        TypeError: a field of the wrong type.
    """

    def __init__(self, impath: str = "", label: int = 0, domain: int = 0, classname: str = "") -> None:
        if not isinstance(impath, str):
            raise TypeError(f"Datum.impath must be a str, not {impath!r}")
        if not isinstance(classname, str):
            raise TypeError(f"Datum.classname must be a str, not {classname!r} ({impath})")
        self._impath = impath
        self._label = self._index("label", label)
        self._domain = self._index("domain", domain)
        self._classname = classname

    def _index(self, field: str, value: int) -> int:
        """``value`` as a plain int (numpy integers are integers too)."""
        if not hasattr(value, "__index__") or value < 0:
            raise TypeError(f"Datum.{field} must be an int from 0, not {value!r} ({self._impath})")
        return int(value)

    @property
    def impath(self) -> str:
        """Path of the image."""
        return self._impath

    @property
    def label(self) -> int:
        """Class index."""
        return self._label

    @property
    def domain(self) -> int:
        """Domain index."""
        return self._domain

    @property
    def classname(self) -> str:
        """Class name."""
        return self._classname

    def __repr__(self) -> str:
        return f"Datum({self.impath!r}, label={self.label}, domain={self.domain}, classname={self.classname!r})"


class DatasetBase:
    """Lists of :class:`Datum` for training (labelled, unlabelled), validation and testing.

    Class names and their number are read off ``train_x``. Subclasses set ``dataset_dir`` and ``domains``.
    """

    dataset_dir: str = ""
    domains: Sequence[str] = ()

    def __init__(
        self,
        train_x: list[Datum] | None = None,
        train_u: list[Datum] | None = None,
        val: list[Datum] | None = None,
        test: list[Datum] | None = None,
    ) -> None:
        self._train_x = train_x
        self._train_u = train_u
        self._val = val
        self._test = test
        if not train_x:
            raise UserError(f"dataset {type(self).__name__}: no labelled training image was found")
        self._num_classes = self.get_num_classes(train_x)
        self._lab2cname, self._classnames = self.get_lab2cname(train_x)

    def data_files(self) -> DataFiles:
        """What the dataset was read from: its folder, else the folders of its images.

        A subclass that knows its split files names them.
        """
        parts = (self._train_x, self._train_u, self._val, self._test)
        folders = {os.path.dirname(os.path.abspath(item.impath)) for part in parts for item in part or ()}
        top = os.path.abspath(self.dataset_dir) if self.dataset_dir else ""
        inside = top and all(os.path.join(folder, "").startswith(os.path.join(top, "")) for folder in folders)
        return DataFiles((top,) if inside else tuple(sorted(folders)))

    @property
    def train_x(self) -> list[Datum]:
        """Labelled training images."""
        return self._train_x

    @property
    def train_u(self) -> list[Datum] | None:
        """Unlabelled training images, if any."""
        return self._train_u

    @property
    def val(self) -> list[Datum] | None:
        """Validation images, if any."""
        return self._val

    @property
    def test(self) -> list[Datum] | None:
        """Test images."""
        return self._test

    @property
    def lab2cname(self) -> dict[int, str]:
        """Class index -> class name."""
        return self._lab2cname

    @property
    def classnames(self) -> list[str]:
        """Class names in order of their index."""
        return self._classnames

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self._num_classes

    @staticmethod
    def get_num_classes(data_source: list[Datum]) -> int:
        """Highest class index plus one."""
        return max(item.label for item in data_source) + 1

    @staticmethod
    def get_lab2cname(data_source: list[Datum]) -> tuple[dict[int, str], list[str]]:
        """Return (class index -> name, names in index order)."""
        mapping = {item.label: item.classname for item in data_source}
        return mapping, [mapping[label] for label in sorted(mapping)]

    def check_input_domains(self, source_domains: Sequence[str], target_domains: Sequence[str]) -> None:
        """Check both lists against ``self.domains``.

        Raises:
            UserError: an unknown domain, or a list that is empty.
        """
        if not source_domains:
            raise UserError(f"DATASET.SOURCE_DOMAINS is empty (allowed: {', '.join(self.domains)})")
        if not target_domains:
            raise UserError(f"DATASET.TARGET_DOMAINS is empty (allowed: {', '.join(self.domains)})")
        self.is_input_domain_valid(source_domains, "DATASET.SOURCE_DOMAINS")
        self.is_input_domain_valid(target_domains, "DATASET.TARGET_DOMAINS")

    def is_input_domain_valid(self, input_domains: Sequence[str], key: str = "domains") -> None:
        """Check one list against ``self.domains``.

        Raises:
            UserError: an unknown domain.
        """
        for domain in input_domains:
            if domain not in self.domains:
                raise UserError(
                    f"{key}: {domain!r} is no domain of {type(self).__name__}"
                    f"{suggest(domain, self.domains)} (allowed: {', '.join(self.domains)})"
                )

    def download_data(self, url: str, dst: str, from_gdrive: bool = True) -> None:
        """Download the archive at ``url`` to ``dst`` and unpack it in the folder of ``dst``."""
        from ..download import fetch, safe_extract

        fetch(url, dst, gdrive=from_gdrive)
        safe_extract(dst, os.path.dirname(dst) or ".")

    def generate_fewshot_dataset(
        self, *data_sources: list[Datum], num_shots: int = -1, repeat: bool = False
    ) -> list[Datum] | list[list[Datum]]:
        """Draw ``num_shots`` images per class from each list, with ``random`` in upstream's order of calls.

        Args:
            data_sources: lists to draw from.
            num_shots: images per class; below 1 returns the lists as they are.
            repeat: draw with replacement where a class has fewer; otherwise such a class keeps all it has.

        Returns:
            One list for one source, else a list (for ``num_shots`` below 1: a tuple) of lists.
        """
        if num_shots < 1:
            return data_sources[0] if len(data_sources) == 1 else data_sources
        log.info(f"Creating a {num_shots}-shot dataset")
        output = []
        for data_source in data_sources:
            dataset = []
            for items in self.split_dataset_by_label(data_source).values():
                if len(items) >= num_shots:
                    dataset.extend(random.sample(items, num_shots))
                else:
                    dataset.extend(random.choices(items, k=num_shots) if repeat else items)
            output.append(dataset)
        return output[0] if len(output) == 1 else output

    @staticmethod
    def split_dataset_by_label(data_source: list[Datum]) -> dict[int, list[Datum]]:
        """Group by class index, in order of first appearance."""
        groups = defaultdict(list)
        for item in data_source:
            groups[item.label].append(item)
        return groups

    @staticmethod
    def split_dataset_by_domain(data_source: list[Datum]) -> dict[int, list[Datum]]:
        """Group by domain index, in order of first appearance."""
        groups = defaultdict(list)
        for item in data_source:
            groups[item.domain].append(item)
        return groups
