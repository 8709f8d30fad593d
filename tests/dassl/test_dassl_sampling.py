"""Few-shot sets and sampler orders against the reference, and the loaders built on them."""

import json
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dassl.data import DataManager, DatasetWrapper, build_data_loader
from dassl.data.datasets import DatasetBase, Datum
from dassl.data.samplers import SeededIndex, build_sampler
from dassl.utils import read_image, set_random_seed
from dassl.utils.errors import UserError
from helpers import toy_world

GOLDEN = json.loads((Path(__file__).parents[1] / "goldens" / "sampling.json").read_text())


def listing(counts):
    return [Datum(f"c{c:02d}/{i:03d}.jpg", c, 0, f"class{c}") for c, n in enumerate(counts) for i in range(n)]


@pytest.mark.parametrize("case", GOLDEN["fewshot"])
def test_few_shot_sets_equal_the_reference(case):
    seed, shots = map(int, re.findall(r"\d+", case))
    dataset = DatasetBase(train_x=listing([30, 5, 12, 40, 16, 17, 3, 25, 31, 22]), val=listing([8] * 10))
    set_random_seed(seed)
    train = dataset.generate_fewshot_dataset(dataset.train_x, num_shots=shots)
    val = dataset.generate_fewshot_dataset(dataset.val, num_shots=min(shots, 4))
    assert [item.impath for item in train] == GOLDEN["fewshot"][case]["train"]
    assert [item.impath for item in val] == GOLDEN["fewshot"][case]["val"]


def test_few_shot_extremes():
    dataset = DatasetBase(train_x=listing([2, 5]))
    assert dataset.generate_fewshot_dataset(dataset.train_x, num_shots=-1) is dataset.train_x
    repeated = dataset.generate_fewshot_dataset(dataset.train_x, num_shots=4, repeat=True)
    assert Counter(item.label for item in repeated) == {0: 4, 1: 4}
    both = dataset.generate_fewshot_dataset(dataset.train_x, dataset.train_x, num_shots=1)
    assert [len(part) for part in both] == [2, 2]


@pytest.mark.parametrize("case", GOLDEN["samplers"])
def test_sampler_orders_equal_the_reference(case):
    name, batch, *extra, seed = case.split("_")
    sizes = {"n_domain": 0, "n_ins": 2}
    if extra and extra[0].startswith("n"):
        sizes["n_domain"] = int(extra[0][1:])
    source = [Datum(f"{c}/{i}", c, i % 3, str(c)) for c in range(4) for i in range(12)]
    set_random_seed(int(seed.removeprefix("seed")))
    sampler = build_sampler(name, data_source=source, batch_size=int(batch[1:]), **sizes)
    golden = GOLDEN["samplers"][case]
    assert len(sampler) == golden["len"]
    assert list(sampler) == golden["order"]


@pytest.mark.parametrize(
    "name, sizes, words",
    [
        ("RandomSample", {}, "'RandomSample'.*did you mean 'RandomSampler'"),
        ("RandomDomainSampler", dict(batch_size=5), "5 cannot be divided among 3"),
        ("RandomDomainSampler", dict(batch_size=8, n_domain=4), "N_DOMAIN is 4.*3 domains"),
        ("SeqDomainSampler", dict(batch_size=60), "domain 0 has fewer images than its 20 places"),
        ("RandomClassSampler", dict(batch_size=10, n_ins=2), "needs 5 classes, but the data has 4"),
        ("RandomClassSampler", dict(batch_size=2, n_ins=4), "BATCH_SIZE 2 is below N_INS 4"),
    ],
)
def test_sampler_settings_that_do_not_fit_are_named(name, sizes, words):
    source = [Datum(f"{c}/{i}", c, i % 3, str(c)) for c in range(4) for i in range(12)]
    with pytest.raises(UserError, match=words):
        build_sampler(name, data_source=source, **sizes)


def epochs(cfg, count=2):
    """Batches of two epochs and the state that the global generators end in."""
    set_random_seed(3)
    loader = DataManager(cfg).train_loader_x
    batches = [batch for _ in range(count) for batch in loader]
    return batches, (torch.rand(2).tolist(), random.random(), np.random.rand())


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_augmentation_does_not_depend_on_workers(toy):
    reference, after = epochs(toy_world.toy_cfg(toy))
    assert not torch.equal(reference[0]["img"], reference[len(reference) // 2]["img"])  # epochs differ
    for workers in (1, 4):
        batches, end = epochs(toy_world.toy_cfg(toy, "DATALOADER.NUM_WORKERS", workers))
        assert end == after
        for one, two in zip(reference, batches, strict=True):
            assert one["impath"] == two["impath"]
            assert torch.equal(one["img"], two["img"])


def test_evaluation_takes_nothing_from_the_global_generators(toy):
    manager = DataManager(toy_world.toy_cfg(toy))
    set_random_seed(1)
    expected = torch.rand(3)
    set_random_seed(1)
    assert sum(len(batch["label"]) for batch in manager.test_loader) == 24
    assert torch.equal(torch.rand(3), expected)


def test_a_seeded_item_leaves_the_generators_alone_and_a_plain_one_draws_from_them(toy):
    cfg = toy_world.toy_cfg(toy)
    data = DataManager(cfg).train_loader_x.dataset
    set_random_seed(5)
    first = data[SeededIndex(2, 11)]["img"]
    drawn = torch.rand(1), random.random(), np.random.rand()
    set_random_seed(5)
    assert drawn == (torch.rand(1), random.random(), np.random.rand())
    assert torch.equal(first, data[SeededIndex(2, 11)]["img"])
    assert not torch.equal(first, data[SeededIndex(2, 12)]["img"])
    set_random_seed(5)
    plain = data[2]["img"]
    set_random_seed(5)
    assert torch.equal(plain, data[2]["img"])
    assert not torch.equal(plain, data[2]["img"])


def test_a_seeded_batch_is_its_seeded_items(toy):
    data = DataManager(toy_world.toy_cfg(toy)).train_loader_x.dataset
    indices = [SeededIndex(i, 7 * i) for i in (4, 1, 4)]
    set_random_seed(5)
    batch = data.__getitems__(indices)
    drawn = torch.rand(1), random.random(), np.random.rand()
    set_random_seed(5)
    assert drawn == (torch.rand(1), random.random(), np.random.rand())
    for item, index in zip(batch, indices, strict=True):
        assert torch.equal(item["img"], data[index]["img"]) and item["index"] == index
    assert torch.equal(data.augment(read_image(batch[0]["impath"]), 28)["img"], batch[0]["img"])


def test_a_wrapper_that_draws_on_its_own_is_seeded_too(toy):
    class Own(DatasetWrapper):
        def __getitem__(self, idx):
            return {"draw": torch.rand(1) + random.random() + np.random.rand()}

    cfg = toy_world.toy_cfg(toy)
    loaders = [
        build_data_loader(cfg, "RandomSampler", toy_world.Toy(cfg).train_x, 3, dataset_wrapper=Own) for _ in range(2)
    ]
    drawn = []
    for loader in loaders:
        set_random_seed(2)
        drawn.append(torch.cat([batch["draw"] for batch in loader]))
    assert torch.equal(*drawn) and len(drawn[0].unique()) == 18


def test_the_last_training_batch_is_dropped_only_beyond_one_batch(toy):
    def sizes(batch_size, is_train):
        cfg = toy_world.toy_cfg(toy)
        source = toy_world.Toy(cfg).train_x  # 18 images
        return [
            len(b["label"])
            for b in build_data_loader(
                cfg, "SequentialSampler", source, batch_size, tfm=lambda img: torch.zeros(1), is_train=is_train
            )
        ]

    assert sizes(8, True) == [8, 8] and sizes(8, False) == [8, 8, 2]
    assert sizes(18, True) == [18] and sizes(19, True) == [18]


def test_items_have_upstreams_keys(toy):
    cfg = toy_world.toy_cfg(toy, "DATALOADER.RETURN_IMG0", True, "DATALOADER.K_TRANSFORMS", 2)
    source = toy_world.Toy(cfg).train_x

    def constant(value):
        return lambda img: torch.full((1,), float(value))

    item = DatasetWrapper(cfg, source, transform=constant(1), is_train=True)[SeededIndex(3, 0)]
    assert [view.item() for view in item["img"]] == [1, 1] and item["img0"].shape == (3, 8, 8)
    assert (item["impath"], item["label"], item["domain"]) == (source[3].impath, source[3].label, source[3].domain)
    assert item["index"] == 3 and type(item["index"]) is int
    views = DatasetWrapper(cfg, source, transform=[constant(1), constant(2), constant(3)], is_train=False)[0]
    assert [views[k].item() for k in ("img", "img2", "img3")] == [1, 2, 3]


@pytest.mark.parametrize("workers, content", [(0, b""), (0, b"\x89PNG\r\n\x1a\n rest is missing"), (1, b"no image")])
def test_an_unreadable_image_is_named_on_one_line_also_from_a_worker(toy, workers, content):
    broken = toy / "data" / "day" / "ant" / "0.png"
    broken.write_bytes(content)
    loader = DataManager(toy_world.toy_cfg(toy, "DATALOADER.NUM_WORKERS", workers)).train_loader_x
    with pytest.raises(UserError) as error:
        list(loader)
    assert str(error.value).startswith(f"cannot read image {broken} ({len(content)} bytes)")
    assert "\n" not in str(error.value)


def test_facts_of_a_dataset(toy):
    cfg = toy_world.toy_cfg(toy)
    manager = DataManager(cfg)
    assert (manager.num_classes, manager.lab2cname) == (3, {0: "ant", 1: "bee", 2: "cat"})
    dataset = manager.dataset
    assert dataset.classnames == toy_world.CLASSES
    assert {k: len(v) for k, v in dataset.split_dataset_by_domain(dataset.test).items()} == {0: 12, 1: 12}
    assert {k: len(v) for k, v in dataset.split_dataset_by_label(dataset.val).items()} == {0: 2, 1: 2, 2: 2}
    dataset.check_input_domains(["day"], ["night"])
    with pytest.raises(UserError, match="TARGET_DOMAINS: 'nigth'.*did you mean 'night'.*day, night"):
        dataset.check_input_domains(["day"], ["nigth"])


def test_the_summary_shows_what_there_is(toy, capsys):
    DataManager(toy_world.toy_cfg(toy, "VERBOSE", True, "DATASET.SOURCE_DOMAINS", ["day"]))
    text = capsys.readouterr().out
    assert "Loading dataset: Toy" in text
    for row in (["Source", "day"], ["# classes", "3"], ["# train_x", "18"], ["# val", "6"], ["# test", "24"]):
        assert re.search(r"\s+".join(row), text)


@pytest.mark.parametrize(
    "fields",
    [
        (1, 0, 0, ""),
        ("a", "0", 0, ""),
        ("a", -1, 0, ""),
        ("a", 0, 0.5, ""),
        ("a", 0, 0, 3),
    ],
)
def test_a_datum_is_checked_but_its_file_is_not(fields):
    assert type(Datum("/nowhere/at/all.png", np.int64(1), 0, "dog").label) is int
    with pytest.raises(TypeError, match="Datum"):
        Datum(*fields)


def test_an_empty_or_unnamed_dataset_is_named(toy):
    with pytest.raises(UserError, match="no labelled training image"):
        DatasetBase(train_x=[])
    with pytest.raises(UserError, match="DATASET.NAME is empty"):
        DataManager(toy_world.toy_cfg(toy, "DATASET.NAME", ""))
    with pytest.raises(UserError, match="unknown DATASET 'Toyy'; did you mean 'Toy'"):
        DataManager(toy_world.toy_cfg(toy, "DATASET.NAME", "Toyy"))


def test_large_domains_are_drawn_as_from_lists_that_shrink():
    source = [Datum(f"{i}", 0, i % 3, "c") for i in range(5000)]
    random.seed(3)
    left = {domain: [i for i in range(5000) if i % 3 == domain] for domain in range(3)}
    expected = []
    while min(map(len, left.values())) >= 11:
        for domain in random.sample(list(left), 3):
            drawn = random.sample(left[domain], 11)
            left[domain] = [i for i in left[domain] if i not in drawn]
            expected += drawn
    random.seed(3)
    sampler = build_sampler("RandomDomainSampler", data_source=source, batch_size=33)
    assert len(sampler) == len(expected)
    random.seed(3)
    assert list(sampler) == expected


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_two_passes_at_once_and_one_given_up_are_as_with_workers_made_anew(toy):
    def passes(plain):
        set_random_seed(3)
        loader = DataManager(toy_world.toy_cfg(toy, "DATALOADER.NUM_WORKERS", 2)).train_loader_x
        if plain:
            same = {name: getattr(loader, name) for name in ("batch_size", "sampler", "drop_last", "worker_init_fn")}
            loader = DataLoader(loader.dataset, num_workers=2, **same)
        pairs = [(one["impath"], two["impath"]) for one, two in zip(loader, loader, strict=True)]
        next(iter(loader))
        return pairs, [batch["impath"] for _ in range(2) for batch in loader], torch.rand(2).tolist()

    assert passes(plain=False) == passes(plain=True)
