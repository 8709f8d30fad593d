"""The words of the public scripts, in those of `promptshift run`:  promptshift run --as FORM TRAINER WORDS...

A form is a function whose docstring begins with the words that it takes. Where a script of the public repositories
stands for a step of a protocol (train on the base classes, test on the new ones), its form names the protocol and the
flags that make this step of it; what is missing before it is run first.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dassl.utils.errors import UserError
from promptshift.discovery import look_up
from promptshift.protocols.few_shot import from_coop_call, is_coop_call

KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Za-z0-9_]+)*")  # of the configuration


@dataclasses.dataclass(frozen=True)
class Call:
    """What `promptshift run` is asked for, the trainer aside.

    Attributes:
        protocol: its name.
        words: DATASET [BACKBONE] [KEY VALUE ...].
        flags: value by name of the flags that the form sets (seeds, targets, weights, config, train_only).
    """

    protocol: str
    words: tuple[str, ...]
    flags: dict[str, Any]


FORMS: dict[str, Callable[..., list[Call]]] = {}


def calls(form: str, words: Sequence[str]) -> list[Call]:
    """Return what the words of a form ask for, in order.

    Raises:
        UserError: there is no such form, or a word that it needs is missing; the line says what it takes.
    """
    function = look_up("form", form, FORMS)
    usage = usage_of(form)
    needed = [word for word in usage.split(" [")[0].split() if not word.startswith("[")]
    if len(words) < len(needed):
        raise UserError(f"{needed[len(words)]} is missing; {form} takes {usage}")
    return function(*words)


def usage_of(form: str) -> str:
    """Return the words that a form takes, e.g. "DATASET SEED [KEY VALUE ...]"."""
    return FORMS[form].__doc__.partition(":")[0]


def help_text() -> str:
    """Return a line per form: its name, the words that it takes, what it runs."""
    return "\n".join(f"  {name:<19} {function.__doc__.splitlines()[0]}" for name, function in FORMS.items())


def _form(function: Callable[..., list[Call]]) -> Callable[..., list[Call]]:
    FORMS[function.__name__] = function
    return function


def _call(protocol: str, *words: str, **flags: Any) -> Call:
    return Call(protocol, words, flags)


def _source() -> str:
    """Return the dataset that transfer starts from: $SOURCE, else ImageNet."""
    return os.environ.get("SOURCE") or "imagenet"


@_form
def base2new_train(dataset: str, seed: str, *more: str) -> list[Call]:
    """DATASET SEED [KEY VALUE ...]: train on the base classes, test on them."""
    return [_call("base_to_new", dataset, *more, seeds=[seed], train_only=True)]


@_form
def base2new_test(dataset: str, seed: str, *more: str) -> list[Call]:
    """DATASET SEED [KEY VALUE ...]: test on the new classes; train first if need be."""
    return [_call("base_to_new", dataset, *more, seeds=[seed])]


@_form
def xd_train(dataset: str, seed: str, *more: str) -> list[Call]:
    """DATASET SEED [KEY VALUE ...]: train on all classes of DATASET."""
    return [_call("xd", dataset, *more, seeds=[seed], train_only=True)]


@_form
def source_train(seed: str, *more: str) -> list[Call]:
    """SEED [KEY VALUE ...]: the same on $SOURCE (imagenet)."""
    return xd_train(_source(), seed, *more)


@_form
def xd_test(dataset: str, seed: str, *more: str) -> list[Call]:
    """DATASET SEED [KEY VALUE ...]: test on DATASET what was trained on $SOURCE; train first if need be."""
    return [_call("xd", _source(), *more, targets=dataset, seeds=[seed])]


@_form
def xd_eval(dataset: str, config: str, *more: str) -> list[Call]:
    """DATASET CFG [KEY VALUE ...]: the same for all seeds with the configuration file CFG."""
    return [_call("xd", _source(), *more, targets=dataset, config=config)]


@_form
def few_shot(dataset: str, shots: str, *more: str) -> list[Call]:
    """DATASET SHOTS [KEY VALUE ...]: SHOTS images per class, all seeds."""
    return [_call("few_shot", dataset, *more, "DATASET.NUM_SHOTS", shots)]


@_form
def unlabelled_train(dataset: str, seed: str, *more: str) -> list[Call]:
    """DATASET SEED [KEY VALUE ...]: PromptKD on all images of DATASET, their labels unread."""
    modal = ("TRAINER.PROMPTKD.MODAL", "cross")
    return [_call("few_shot", dataset, *modal, *more, "DATASET.NUM_SHOTS", "0", seeds=[seed])]


@_form
def zeroshot(dataset: str, config: str, *more: str) -> list[Call]:
    """DATASET CFG [KEY VALUE ...]: no training; CFG of configs/trainers/CoOp."""
    return [_call("zero_shot", dataset, *more, config=f"CoOp/{config}")]


@_form
def reproduce_base2new(dataset: str, seed: str, weights: str, *more: str) -> list[Call]:
    """DATASET SEED WEIGHTSPATH [KEY VALUE ...]: evaluate WEIGHTSPATH/base/seed<SEED>."""
    return [_call("base_to_new", dataset, *more, seeds=[seed], weights=os.path.join(weights, "base"))]


@_form
def reproduce_xd(dataset: str, seed: str, weights: str, *more: str) -> list[Call]:
    """DATASET SEED WEIGHTSPATH [KEY VALUE ...]: evaluate WEIGHTSPATH/seed<SEED>, trained on $SOURCE."""
    return [_call("xd", _source(), *more, targets=dataset, seeds=[seed], weights=weights)]


@_form
def reproduce_few_shot(dataset: str, shots: str, weights: str, *more: str) -> list[Call]:
    """DATASET SHOTS WEIGHTSPATH [KEY VALUE ...]: evaluate WEIGHTSPATH/<SHOTS>shot/seed<K>."""
    options = (*more, "DATASET.NUM_SHOTS", shots)
    return [_call("few_shot", dataset, *options, weights=os.path.join(weights, f"{shots}shot"))]


@_form
def palign(dataset: str, seed: str, *more: str) -> list[Call]:
    """DATASET SEED [NAME] [KEY VALUE ...]: as reproduce_xd with $WEIGHTS/NAME (weights/maple), else as xd_test."""
    if len(more) % 2 == 0:
        return xd_test(dataset, seed, *more)
    name, *more = more
    return reproduce_xd(dataset, seed, os.path.join(os.environ.get("WEIGHTS") or Path("weights", "maple"), name), *more)


@_form
def dpc(dataset: str, *more: str) -> list[Call]:
    """DATASET [METHOD] [KEY VALUE ...]: main on top of METHOD (CoOp)."""
    method, *more = more if len(more) % 2 else ("CoOp", *more)
    return [_call("main", dataset, "TRAINER.DPC.BACKBONE", method, *more)]


@_form
def dept(dataset: str, *more: str) -> list[Call]:
    """DATASET [METHOD] [KEY VALUE ...]: main on top of METHOD (CoOp)."""
    method, *more = more if len(more) % 2 else ("CoOp", *more)
    flags = {"default_config": "vit_b16_c4_ep10_batch1_ctxv1"} if method == "CoCoOp" else {}
    return [_call("main", dataset, "TRAINER.DEPT.BACKBONE", method, *more, **flags)]


@_form
def base2new(*words: str) -> list[Call]:
    """[DATASET] [KEY VALUE ...]: both halves with all seeds; without DATASET CoOp's eleven."""
    return [_call("base_to_new", *(words if len(words) % 2 else ("all", *words)))]


@_form
def base2new_seeds(dataset: str, *more: str) -> list[Call]:
    """DATASET [KEY VALUE ...]: train on the base classes with all seeds, test on them."""
    return [_call("base_to_new", dataset, *more, train_only=True)]


@_form
def coop_main(*words: str) -> list[Call]:
    """DATASET [BACKBONE] [KEY VALUE ...]: main; or CoOp's six, DATASET CFG CTP NCTX SHOTS CSC: few_shot."""
    if is_coop_call(words):
        config, options = from_coop_call(words)
        return [_call("few_shot", *options, config=config)]
    keys = words[2 - len(words) % 2 :: 2]  # an even number of words has a BACKBONE among them
    if not all(KEY.fullmatch(key) for key in keys):
        raise UserError(
            "coop_main takes DATASET CFG CTP NCTX SHOTS CSC with CTP front, middle or end, or DATASET [BACKBONE] "
            f"[KEY VALUE ...]; got {' '.join(words)}"
        )
    return [_call("main", *words)]


# TPT's names of test sets -> names of configs/datasets
_TPT_NAMES = {
    "I": "imagenet",
    "V": "imagenetv2",
    "A": "imagenet_a",
    "R": "imagenet_r",
    "K": "imagenet_sketch",
    "Flower102": "oxford_flowers",
    "Cars": "stanford_cars",
    "Pets": "oxford_pets",
    "Aircraft": "fgvc_aircraft",
    **{name: name.lower() for name in ("Food101", "SUN397", "DTD", "UCF101", "Caltech101")},
}


@_form
def test_time(datasets: str, *more: str) -> list[Call]:
    """DATASET [SEED] [BACKBONE] [KEY VALUE ...]: the protocol that the method's paper has for DATASET.

    Several DATASETs have / between them and may be called by TPT's names (A R V K I, Flower102, Pets ...).
    """
    flags = {"seeds": [more[0]]} if more and more[0].isdecimal() else {}
    more = more[len(flags) :]
    return [_adapted(_TPT_NAMES.get(name, name), more, flags) for name in filter(None, datasets.split("/"))]


def _adapted(dataset: str, more: Sequence[str], flags: dict[str, Any]) -> Call:
    """Return the call for one test set.

    ImageNet stands for its four variants, each of which is one by its own name; CoOp's other ten datasets are tested
    with prompts from $SOURCE; any other leaves one domain out or goes from base to new classes. The configuration
    file that a script names is the one for ImageNet and its variants.
    """
    from promptshift.protocols import imagenet_variants, xd

    if dataset == "imagenet":
        return _call("imagenet_variants", dataset, *more, **flags)
    if dataset in imagenet_variants.TARGETS:
        return _call("imagenet_variants", _source(), *more, targets=dataset, **flags)
    if dataset in imagenet_variants.MINI_TARGETS:
        source = os.environ.get("SOURCE") or "mini_b2n"
        return _call("imagenet_variants", source, *more, targets=dataset, default_config="default", **flags)
    if dataset in xd.TARGETS:
        return _call("xd", _source(), *more, targets=dataset, default_config="default", **flags)
    return _call("main", dataset, *more, default_config="default", **flags)


# TDA's names of test sets that are not those of configs/datasets -> those
_TDA_NAMES = {
    "I": "imagenet",
    "A": "imagenet_a",
    "V": "imagenetv2",
    "R": "imagenet_r",
    "S": "imagenet_sketch",
    "fgvc": "fgvc_aircraft",
}


@_form
def tda(datasets: str, *more: str) -> list[Call]:
    """DATASETS [BACKBONE] [KEY VALUE ...]: with / between them and in TDA's names, each with its own settings."""
    from promptshift.protocols import imagenet_variants

    names = [_TDA_NAMES.get(name, name) for name in filter(None, datasets.split("/"))]
    variants = ("imagenet", *imagenet_variants.TARGETS)
    return [
        _call("imagenet_variants" if name in variants else "xd", "imagenet", *more, targets=name, config=name)
        for name in names
    ]
