"""Forms of the repositories that generalise over domains: SPG with its baselines, and DPSPG.

Their folders call a domain by its code (a, c, p, s in PACS) and a dataset by its letter (d, o, p, t, v).
"""

from __future__ import annotations

import os
from pathlib import Path

from dassl.utils.errors import UserError
from promptshift.cli.upstream.forms import Call, Place, call, form, weights
from promptshift.protocols.config_files import known_facts

_LETTERS = {"DomainNet": "d", "OfficeHome": "o", "PACS": "p", "TerraIncognita": "t", "VLCS": "v"}
_DATASETS = ("pacs", "vlcs", "office_home", "terra_incognita", "domainnet")  # of SPG's baselines, in their order
_WARM_UP = ("OPTIM.WARMUP_EPOCH", "1")  # which the scripts of the baselines set


@form
def spg_multi(dataset: str, config: str, backbone: str, *more: str) -> list[Call]:
    """DATASET CFG BACKBONE [GPU] [KEY VALUE ...]: leave one domain out."""
    place = _by_domain(dataset, "SPG/multi_DG/SPG_CGAN/{dataset}/{config}/{backbone}/{code}/seed_{seed}")
    return [_on_gpu("multi_source", dataset, backbone, more, config=config).replace(place=place)]


@form
def spg_single(dataset: str, config: str, backbone: str, *more: str) -> list[Call]:
    """DATASET CFG BACKBONE [GPU] [KEY VALUE ...]: one source domain, tested on all the others; seed 1."""
    place = _by_domain(dataset, "SPG/single_DG/SPG_CGAN/{dataset}/{config}/{backbone}/{code}/seed_{seed}")
    asked = _on_gpu("single_source", dataset, backbone, more, config=config)
    return [asked.replace(place=place, seeds=("1",))]


@form
def spg_cross(config: str, backbone: str, *more: str) -> list[Call]:
    """CFG BACKBONE [GPU] [KEY VALUE ...]: trained on $SOURCE (domainnet), tested on whole other datasets; seed 1."""

    def place(path: Path) -> Path:
        *_, config, backbone, tested, seed = path.parts
        return Path("SPG", "cross", "SPG_CGAN", _letter(path), config, backbone, _seed(seed))

    source = os.environ.get("SOURCE") or "domainnet"
    return [_on_gpu("cross_dataset", source, backbone, more, config=config).replace(place=place, seeds=("1",))]


@form
def spg_labels(dataset: str, backbone: str, *more: str) -> list[Call]:
    """DATASET BACKBONE [GPU] [KEY VALUE ...]: stage one of SPG alone, a prompt label of every domain."""
    seed = os.environ.get("SEED", "")  # as the released script: it names a folder after a variable that it never sets
    place = _by_domain(dataset, f"SPG/SPG_CoOp/{{dataset}}/seed_{seed}/{{config}}/{{backbone}}/{{code}}", bare=True)
    return [_on_gpu("own_domain", dataset, backbone, more).replace(place=place, preferred="b32_ep50", seeds=("1",))]


@form
def spg_test(dataset: str, config: str, backbone: str, *more: str) -> list[Call]:
    """DATASET CFG BACKBONE [GPU] [KEY VALUE ...]: test the weights in $WEIGHTS/DATASET/BACKBONE/<domain>."""
    return [_tested(dataset, config, backbone, more, "SPG_CGAN")]


@form
def dpspg(dataset: str, backbone: str, *more: str) -> list[Call]:
    """DATASET BACKBONE [KEY VALUE ...]: leave one domain out; seed 1."""
    place = _by_domain(dataset, "DPSPG/DPSPG_TRANSFORMER/{dataset}/{config}/{backbone}/{code}", bare=True)
    asked = call("multi_source", dataset, backbone, *more)
    return [asked.replace(place=place, preferred="dpspg_transformer", seeds=("1",))]


@form
def dpspg_labels(dataset: str, backbone: str, *more: str) -> list[Call]:
    """DATASET BACKBONE [KEY VALUE ...]: stage one of DPSPG alone, two prompt labels of every domain."""
    place = _by_domain(dataset, "DPSPG/DPSPG_CoOp/{dataset}/{config}/{backbone}/{code}", bare=True)
    asked = call("own_domain", dataset, backbone, *more)
    return [asked.replace(place=place, preferred="b32_ep70", seeds=("1",))]


@form
def dpspg_test(dataset: str, config: str, backbone: str, *more: str) -> list[Call]:
    """DATASET CFG BACKBONE [KEY VALUE ...]: test the weights in $WEIGHTS/DATASET/BACKBONE/<domain>."""
    return [_tested(dataset, config, backbone, more, "DPSPG_TRANSFORMER")]


@form
def baseline_multi(backbone: str, trainer: str, *more: str) -> list[Call]:
    """BACKBONE TRAINER [GPU] [KEY VALUE ...]: leave one domain out on SPG's five datasets."""
    template = f"multi-dg/{trainer}/{{dataset}}/{{config}}/{{backbone}}/{{code}}/seed_{{seed}}/warmup_1"
    return [
        _baseline("multi_source", name, backbone, trainer, more, "b32_ep50").replace(place=_by_domain(name, template))
        for name in _DATASETS
    ]


@form
def baseline_single(backbone: str, trainer: str, *more: str) -> list[Call]:
    """BACKBONE TRAINER [GPU] [KEY VALUE ...]: one source domain on SPG's five datasets; seed 1, on VLCS 2."""
    template = f"single-dg/{trainer}/single_{{dataset}}/{{config}}/{{backbone}}/{{code}}/seed_{{seed}}/warmup_1"
    return [
        _baseline("single_source", name, backbone, trainer, more, "b32_ep10").replace(
            place=_by_domain(name, template),
            seeds=("2" if name == "vlcs" and trainer not in ("CLIP_ZS", "CLIP_LR") else "1",),
        )
        for name in _DATASETS
    ]


@form
def baseline_cross(backbone: str, trainer: str, *more: str) -> list[Call]:
    """BACKBONE TRAINER [GPU] [KEY VALUE ...]: trained on DomainNet, tested on SPG's other four; seed 1."""

    def place(path: Path) -> Path:
        *_, config, backbone, tested, seed = path.parts
        kind = "cross-dg" if tested == "train" else "cross-dg_test"
        return Path(kind, trainer, config, backbone, _letter(path), _seed(seed), "warmup_1")

    asked = _baseline("cross_dataset", "domainnet", backbone, trainer, more, "b32_ep10_cross")
    return [asked.replace(place=place, seeds=("1",))]


@form
def baseline_probe(backbone: str, trainer: str, *more: str) -> list[Call]:
    """BACKBONE TRAINER [GPU] [KEY VALUE ...]: refused, the released script fits to the images that it tests."""
    raise UserError(
        f"scripts/baseline/cross_lr.sh: the released script fits {trainer} to the very images that it tests "
        "(its cross_test datasets are train, val and test at once), so its numbers are no accuracies; allowed: "
        "scripts/linear_probe/main.sh DATASET"
    )


def _on_gpu(protocol: str, dataset: str, backbone: str, more: tuple[str, ...], **flags: object) -> Call:
    """Return a call; a number before the KEY VALUE words is the GPU to use."""
    if len(more) % 2:
        gpu, *more = more
        flags["gpus"] = [gpu]
    return call(protocol, dataset, backbone, *more, **flags)


def _tested(dataset: str, config: str, backbone: str, more: tuple[str, ...], trainer: str) -> Call:
    template = f"{trainer}/{{config}}/{{backbone}}/{{dataset}}/{{code}}"
    folder = weights("test_models") / dataset / backbone.replace("/", "")
    asked = _on_gpu("multi_source_test", dataset, backbone, more, config=config, weights=str(folder))
    return asked.replace(place=_by_domain(dataset, template, bare=True), seeds=("1",))


def _baseline(protocol: str, dataset: str, backbone: str, trainer: str, more: tuple[str, ...], config: str) -> Call:
    asked = _on_gpu(protocol, dataset, backbone, more)
    words = (*asked.words, *_WARM_UP)
    return asked.replace(trainer=trainer, words=words, said=_WARM_UP[:1], preferred=f"BASELINE/{config}")


def _by_domain(dataset: str, template: str, bare: bool = False) -> Place:
    """Return what turns ../<dataset>/<config>/<backbone>/<domain>/seed<K> into a template.

    Args:
        dataset: as the script is given it.
        template: with {dataset}, {config}, {backbone}, {code} and, unless `bare`, {seed}.
        bare: the template names no seed; any other than 1 has a folder below it.
    """

    def place(path: Path) -> Path:
        *_, config, backbone, domain, seed = path.parts
        code = known_facts(dataset).code_of(domain)
        seed = seed.removeprefix("seed")
        folder = Path(template.format(dataset=dataset, config=config, backbone=backbone, code=code, seed=seed))
        return folder / f"seed_{seed}" if bare and seed != "1" else folder

    return place


def _letter(path: Path) -> str:
    """Return SPG's letter of the dataset that a job of cross_dataset trains or tests on."""
    *_, trained, _, _, tested, _ = path.parts
    name = trained if tested == "train" else tested
    return _LETTERS.get(name, name)


def _seed(folder: str) -> str:
    return folder.replace("seed", "seed_")
