"""Forms of the repositories that train on classes: CoOp, CoCoOp, MaPLe, PromptSRC, PromptKD, KgCoOp, DPC."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dassl.utils.errors import UserError
from promptshift.cli.upstream.forms import KEY, Call, call, form, source
from promptshift.protocols.config_files import ALL_DATASETS
from promptshift.protocols.few_shot import from_coop_call, is_coop_call

_DISTILLED = ("TRAINER.PROMPTKD.TEMPERATURE", "1.0", "TRAINER.PROMPTKD.KD_WEIGHT", "1000.0")  # as PromptKD's scripts


@form
def base2new_train(dataset: str, seed: str, *more: str) -> list[Call]:
    """DATASET SEED [KEY VALUE ...]: train on the base classes, test on them."""
    return [call("base_to_new", dataset, *more, seeds=[seed], train_only=True)]


@form
def base2new_test(dataset: str, seed: str, *more: str) -> list[Call]:
    """DATASET SEED [KEY VALUE ...]: test on the new classes; train first if need be."""
    return [call("base_to_new", dataset, *more, seeds=[seed])]


@form
def xd_train(dataset: str, seed: str, *more: str) -> list[Call]:
    """DATASET SEED [KEY VALUE ...]: train on all classes of DATASET."""
    return [call("xd", dataset, *more, seeds=[seed], train_only=True)]


@form
def source_train(seed: str, *more: str) -> list[Call]:
    """SEED [KEY VALUE ...]: the same on $SOURCE (imagenet)."""
    return xd_train(source(), seed, *more)


@form
def xd_test(dataset: str, seed: str, *more: str) -> list[Call]:
    """DATASET SEED [KEY VALUE ...]: test on DATASET what was trained on $SOURCE; train first if need be."""
    return [call("xd", source(), *more, targets=dataset, seeds=[seed])]


@form
def xd_eval(dataset: str, config: str, *more: str) -> list[Call]:
    """DATASET CFG [KEY VALUE ...]: the same for all seeds with the configuration file CFG."""
    return [call("xd", source(), *more, targets=dataset, config=config)]


@form
def few_shot(dataset: str, shots: str, *more: str) -> list[Call]:
    """DATASET SHOTS [KEY VALUE ...]: SHOTS images per class, all seeds."""
    return [call("few_shot", dataset, *more, "DATASET.NUM_SHOTS", shots)]


@form
def unlabelled_train(dataset: str, seed: str, *more: str) -> list[Call]:
    """DATASET SEED [KEY VALUE ...]: PromptKD on all images of DATASET, their labels unread."""
    words = ("TRAINER.PROMPTKD.MODAL", "cross", *_DISTILLED)
    asked = call("few_shot", dataset, *words, *more, "DATASET.NUM_SHOTS", "0", seeds=[seed])
    return [asked.replace(said=words[::2], preferred="vit_b16_c2_ep20_batch8_4+4ctx_cross_datasets")]


@form
def zeroshot(dataset: str, config: str, *more: str) -> list[Call]:
    """DATASET CFG [KEY VALUE ...]: no training; CFG of configs/trainers/CoOp."""
    return [call("zero_shot", dataset, *more, config=f"CoOp/{config}")]


@form
def reproduce_base2new(dataset: str, seed: str, weights: str, *more: str) -> list[Call]:
    """DATASET SEED WEIGHTSPATH [KEY VALUE ...]: evaluate WEIGHTSPATH/base/seed<SEED>."""
    return [_evaluated("base_to_new", dataset, *more, seeds=[seed], weights=os.path.join(weights, "base"))]


@form
def reproduce_xd(dataset: str, seed: str, weights: str, *more: str) -> list[Call]:
    """DATASET SEED WEIGHTSPATH [KEY VALUE ...]: evaluate WEIGHTSPATH/seed<SEED>, trained on $SOURCE."""
    return [_evaluated("xd", source(), *more, targets=dataset, seeds=[seed], weights=weights)]


@form
def reproduce_few_shot(dataset: str, shots: str, weights: str, *more: str) -> list[Call]:
    """DATASET SHOTS WEIGHTSPATH [KEY VALUE ...]: evaluate WEIGHTSPATH/<SHOTS>shot/seed<K>."""
    options = (*more, "DATASET.NUM_SHOTS", shots)
    return [_evaluated("few_shot", dataset, *options, weights=os.path.join(weights, f"{shots}shot"))]


def _evaluated(protocol: str, *words: str, **flags: Any) -> Call:
    """Return a call that tests weights in upstream's folders, where its other commands look for the results."""
    return call(protocol, *words, **flags).replace(place=lambda path: path.relative_to("reproduce"))


@form
def unlabelled_base2new(dataset: str, seed: str, *more: str) -> list[Call]:
    """DATASET SEED [KEY VALUE ...]: PromptKD on all images of the base classes, their labels unread."""
    words = ("DATASET.NUM_SHOTS", "0", "TRAINER.PROMPTKD.MODAL", "base2novel", *_DISTILLED)
    asked = call("base_to_new", dataset, *words, *more, seeds=[seed], train_only=True)

    def place(path: Path) -> Path:
        return path.with_name(path.name.replace("seed", "seed_"))

    return [asked.replace(place=place, said=words[::2], preferred="vit_b16_c2_ep20_batch8_4+4ctx")]


@form
def kgcoop_train(dataset: str, weight: str, *more: str) -> list[Call]:
    """DATASET WEIGHT [KEY VALUE ...]: train on the base classes with this weight of KgCoOp's loss, all seeds."""
    return [_kgcoop(dataset, weight, *more).replace(flags={"train_only": True})]


@form
def kgcoop_test(dataset: str, weight: str, *more: str) -> list[Call]:
    """DATASET WEIGHT [KEY VALUE ...]: test on the new classes; train first if need be; all seeds."""
    return [_kgcoop(dataset, weight, *more)]


@form
def kgcoop_run(*more: str) -> list[Call]:
    """[KEY VALUE ...]: both with weight 8.0 on the ten datasets beside ImageNet."""
    return [_kgcoop(dataset, "8.0", *more) for dataset in _KGCOOP_ORDER]


@form
def kgcoop_xd(*more: str) -> list[Call]:
    """[KEY VALUE ...]: train on 4 images of every class of all eleven datasets with weight 8.0."""
    words = ("TRAINER.KGCOOP.W", "8.0", "DATASET.NUM_SHOTS", "4")

    def place(path: Path) -> Path:
        dataset, trainer, config, seed = path.parts
        config = config.removesuffix("_4shots")
        return Path("base2new", "train_base", dataset, "shots_4_8.0", trainer, config, seed)

    asked = [call("few_shot", dataset, *words, *more) for dataset in (*ALL_DATASETS[1:], "imagenet")]
    return [one.replace(place=place, said=words[::2]) for one in asked]


_KGCOOP_ORDER = (
    "ucf101",
    "sun397",
    "eurosat",
    "oxford_pets",
    "food101",
    "oxford_flowers",
    "stanford_cars",
    "dtd",
    "caltech101",
    "fgvc_aircraft",
)


def _kgcoop(dataset: str, weight: str, *more: str) -> Call:
    """Return the base-to-new call whose folders name the weight, as KgCoOp's do: shots_16_8.0."""
    words = ("TRAINER.KGCOOP.W", _weight(weight))

    def place(path: Path) -> Path:
        *first, shots, trainer, config, seed = path.parts
        return Path(*first, f"{shots}_{weight}", trainer, config, seed)

    return call("base_to_new", dataset, *words, *more).replace(place=place, said=words[:1])


def _weight(word: str) -> str:
    """Return the word where it is a number of at least 0.

    Raises:
        UserError: it is not.
    """
    try:
        if 0 <= float(word) < float("inf"):
            return word
    except ValueError:
        pass
    raise UserError(f"WEIGHT (of KgCoOp's loss): {word!r}, allowed: numbers of at least 0, e.g. 8.0; seeds are SEEDS")


@form
def dpc(dataset: str, *more: str) -> list[Call]:
    """DATASET [METHOD] [KEY VALUE ...]: main on top of METHOD (CoOp)."""
    method, *more = more if len(more) % 2 else ("CoOp", *more)
    return [call("main", dataset, "TRAINER.DPC.BACKBONE", method, *more)]


@form
def dept(dataset: str, *more: str) -> list[Call]:
    """DATASET [METHOD] [KEY VALUE ...]: main on top of METHOD (CoOp)."""
    method, *more = more if len(more) % 2 else ("CoOp", *more)
    flags = {"default_config": "vit_b16_c4_ep10_batch1_ctxv1"} if method == "CoCoOp" else {}
    return [call("main", dataset, "TRAINER.DEPT.BACKBONE", method, *more, **flags)]


@form
def base2new(*words: str) -> list[Call]:
    """[DATASET] [KEY VALUE ...]: both halves with all seeds; without DATASET CoOp's eleven."""
    return [call("base_to_new", *(words if len(words) % 2 else ("all", *words)))]


@form
def base2new_seeds(dataset: str, *more: str) -> list[Call]:
    """DATASET [KEY VALUE ...]: train on the base classes with all seeds, test on them."""
    return [call("base_to_new", dataset, *more, train_only=True)]


@form
def coop_main(*words: str) -> list[Call]:
    """DATASET [BACKBONE] [KEY VALUE ...]: main; or CoOp's six, DATASET CFG CTP NCTX SHOTS CSC: few_shot."""
    if is_coop_call(words):
        config, options = from_coop_call(words)
        return [call("few_shot", *options, config=config)]
    keys = words[2 - len(words) % 2 :: 2]  # an even number of words has a BACKBONE among them
    if not all(KEY.fullmatch(key) for key in keys):
        raise UserError(
            "coop_main takes DATASET CFG CTP NCTX SHOTS CSC with CTP front, middle or end, or DATASET [BACKBONE] "
            f"[KEY VALUE ...]; got {' '.join(words)}"
        )
    return [call("main", *words)]
