"""The feature cache: same numbers as encoding again, and never a stale one."""

import os
from types import SimpleNamespace

import torch
from PIL import Image

from dassl.utils import writing
from promptshift.modeling.features import cached_features


class Loader:
    """A test loader over image files that counts how often it is read."""

    def __init__(self, paths):
        self.dataset = SimpleNamespace(
            data_source=[SimpleNamespace(impath=str(p), label=i % 2) for i, p in enumerate(paths)]
        )
        self.reads = 0

    def __iter__(self):
        self.reads += 1
        torch.rand(1)  # a loader draws its base seed
        for item in self.dataset.data_source:
            with Image.open(item.impath) as image:
                pixel = float(image.getpixel((0, 0))[0])
            yield {"img": torch.full((1, 3), pixel), "label": torch.tensor([item.label])}


def make(tmp_path, count=4):
    paths = [tmp_path / f"{i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        Image.new("RGB", (2, 2), (40 * i, 0, 0)).save(path)
    return Loader(paths), paths


def features(loader, folder, key="weights"):
    return cached_features(loader, lambda images: images * 2, key, folder)


def test_second_time_reads_the_cache_and_moves_no_random_stream(tmp_path):
    loader, _ = make(tmp_path)
    state = torch.get_rng_state()
    first, labels = features(loader, tmp_path / "cache")
    assert first[:, 0].tolist() == [0, 80, 160, 240] and labels.tolist() == [0, 1, 0, 1]
    again, _ = features(loader, tmp_path / "cache")
    assert loader.reads == 1 and torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)


def test_another_image_label_order_or_backbone_is_another_entry(tmp_path):
    loader, paths = make(tmp_path)
    features(loader, tmp_path / "cache")
    Image.new("RGB", (2, 2), (1, 0, 0)).save(paths[0])
    os.utime(paths[0], ns=(1, 1))
    assert features(loader, tmp_path / "cache")[0][0, 0] == 2
    loader.dataset.data_source.reverse()
    assert features(loader, tmp_path / "cache")[0][-1, 0] == 2
    features(loader, tmp_path / "cache", key="other weights")
    assert loader.reads == 4


def test_a_damaged_entry_is_computed_again(tmp_path):
    loader, _ = make(tmp_path)
    first, _ = features(loader, tmp_path / "cache")
    (entry,) = (tmp_path / "cache").iterdir()
    entry.write_bytes(entry.read_bytes()[:30])
    again, _ = features(loader, tmp_path / "cache")
    assert torch.equal(first, again) and loader.reads == 2


def test_a_run_that_sweeps_the_folder_leaves_what_another_is_writing(tmp_path, monkeypatch):
    loader, _ = make(tmp_path)
    to_disk = writing._to_disk

    def swept(path):
        writing.remove_stale_temporaries(path.parent)
        to_disk(path)

    monkeypatch.setattr(writing, "_to_disk", swept)
    features(loader, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    assert kept.suffix == ".safetensors" and not kept.name.startswith(".")
