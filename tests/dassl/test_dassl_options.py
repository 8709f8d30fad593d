"""Declared keys: what they allow, their defaults, and the check of a configuration."""

import pytest

from dassl.config import OPTIONS, check_values, get_cfg_default, merge_opts
from dassl.config.options import (
    above,
    at_least,
    between,
    block,
    choice,
    count_or,
    flag,
    names,
    number,
    numbers,
    options_of,
    pairs,
    text,
    whole,
    with_defaults,
)
from dassl.utils.errors import UserError

NAN, INF = float("nan"), float("inf")
CASES = [
    (choice("a", "b"), ["a", "b"], ["c", "", None, 1]),
    (choice(1, 2, default=2), [1, 2], [True, 1.0, 3, "1"]),
    (whole(4, least=1, most=9), [1, 9], [0, 10, True, 4.0, None, "4"]),
    (whole(0, least=1, also=(0,)), [0, 1], [-1]),
    (number(1.0), [-1e9, 0], [NAN, INF, None, True, "1"]),
    (above(0, 1.0, most=1), [1e-9, 1], [0, 1.1, NAN]),
    (at_least(0, 0.5), [0, 0.0], [-1e-9, INF, NAN]),
    (between(0, 1, -1.0, also=(-1.0,)), [0, 1, -1.0], [-0.5, 2]),
    (between(0, 1, 0.5, below=True), [0, 0.99], [1, -1]),
    (flag(False), [True, False], [0, 1, None, "True"]),
    (text(""), ["", "x"], [None, 1, []]),
    (text("", holding="{}"), ["", "a {}"], ["a"]),
    (names("x", "y", default=["x"], least=1), [["x"], ("y", "x")], [[], ["z"], "x", None]),
    (names(holding="{}"), [[], ["a {}"]], [["a"], [1]]),
    (numbers((1, 2), length=(2,), kind=int, least=1), [[1, 2]], [[1], [1, 2, 3], [0, 1], [1.5, 2], 3, None]),
    (numbers((0.1, 1.0), length=(2,), above=0, rising=True), [(0.1, 0.1)], [(0, 1), (1, 0.5), (NAN, 1)]),
    (count_or("auto", default="3"), ["auto", "1"], ["0", "-1", "x", "", 3, "9" * 5000]),
    (pairs(), [[], ["A.B", 1]], [["A.B"], "A.B", None]),
]


@pytest.mark.parametrize("option, good, bad", CASES, ids=lambda case: getattr(case, "allowed", ""))
def test_an_option_takes_what_it_allows_and_nothing_else(option, good, bad):
    assert option.fits(option.default) or option.default == 0
    assert all(option.fits(value) for value in good)
    assert not any(option.fits(value) for value in bad)


def test_a_block_holds_fresh_defaults_and_plain_values_declare_their_type():
    declared = dict(N=whole(3), WORDS=names(default=["a"]), PLAIN=0.5, INNER=dict(FLAG=False), ANY=None)
    node = block(declared)
    assert node == {"N": 3, "WORDS": ["a"], "PLAIN": 0.5, "INNER": {"FLAG": False}, "ANY": None}
    node.WORDS.append("b")
    assert block(declared).WORDS == ["a"]
    options = options_of(declared, "TRAINER.X")
    assert list(options) == [f"TRAINER.X.{key}" for key in ("N", "WORDS", "PLAIN", "INNER.FLAG", "ANY")]
    assert options["TRAINER.X.PLAIN"].fits(1) and not options["TRAINER.X.PLAIN"].fits("1")
    assert not options["TRAINER.X.INNER.FLAG"].fits(0) and options["TRAINER.X.ANY"].fits({})


def test_another_default_goes_on_allowing_the_same():
    declared = with_defaults(dict(N=whole(3, least=1, source="there"), P=1), source="here", N=5, P=2)
    assert block(declared) == {"N": 5, "P": 2} and declared["N"].source == "here" and not declared["N"].fits(0)
    with pytest.raises(KeyError):
        with_defaults(declared, M=1)


def test_every_default_of_dassl_is_allowed_and_every_key_declared():
    check_values(get_cfg_default(), OPTIONS)
    assert len(OPTIONS) == len(set(OPTIONS)) and "DATALOADER.TRAIN_X.BATCH_SIZE" in OPTIONS


@pytest.mark.parametrize(
    "key, value",
    [
        ("TRAIN.PRINT_FREQ", "0"),
        ("DATALOADER.NUM_WORKERS", "-1"),
        ("DATALOADER.TRAIN_X.BATCH_SIZE", "0"),
        ("DATALOADER.TEST.BATCH_SIZE", "-3"),
        ("INPUT.SIZE", "(48, 48, 48)"),
        ("INPUT.SIZE", "(48, 'a')"),
        ("INPUT.SIZE", "(0, 48)"),
        ("INPUT.PIXEL_MEAN", "[0.1, 0.2]"),
        ("INPUT.PIXEL_STD", "[0, 0, 0]"),
        ("INPUT.RRCROP_SCALE", "(1,)"),
        ("INPUT.GB_K", "4"),
        ("OPTIM.LR", "-0.1"),
        ("OPTIM.LR", "1e999"),
        ("OPTIM.MOMENTUM", "-1"),
        ("OPTIM.ADAM_BETA2", "1"),
        ("OPTIM.STEPSIZE", "()"),
        ("TEST.SPLIT", "train"),
        ("TEST.FINAL_MODEL", "best"),
        ("SEED", "4294967296"),
    ],
)
def test_a_value_that_is_not_allowed_is_one_line_with_key_value_and_file(key, value):
    cfg, sources = get_cfg_default(), {}
    merge_opts(cfg, [key, value], source="some.yaml", sources=sources)
    with pytest.raises(UserError) as error:
        check_values(cfg, OPTIONS, sources)
    line = str(error.value)
    assert line.startswith(f"some.yaml: {key}: ") and "allowed: " in line and "\n" not in line
    merge_opts(cfg, [key, value], sources=sources)  # the last word counts
    with pytest.raises(UserError, match=f"^{key}: "):
        check_values(cfg, OPTIONS, sources)


def test_a_configuration_without_some_keys_is_checked_as_far_as_it_goes():
    cfg = get_cfg_default()
    del cfg["INPUT"]
    check_values(cfg, OPTIONS)
