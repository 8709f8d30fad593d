"""`promptshift list`: everything by name, with wildcards."""

import pytest

from promptshift.cli.list import everything, main


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


def listed(capsys, *argv):
    assert main(list(argv)) == 0
    return [tuple(line.split()[:2]) for line in capsys.readouterr().out.splitlines()[2:]]


def test_every_kind_is_listed():
    rows = everything()
    for row in (
        ("trainer", "CoOp"),
        ("dataset", "FolderDG"),
        ("config", "trainers/CoOp/mini"),
        ("protocol", "cross_dataset"),
        ("paper", "SPG"),
    ):
        assert row in [found[:2] for found in rows]
    assert dict((name, what) for kind, name, what in rows if kind == "trainer")["SPG_CGAN"] == "= SPG"


def test_patterns_are_wildcards_over_names_and_kinds_in_any_case(capsys):
    assert listed(capsys, "minidg?") == [("dataset", "MiniDG2"), ("dataset", "MiniDG3")]
    assert {kind for kind, _ in listed(capsys, "PROTOCOL")} == {"protocol"}
    names = listed(capsys, "dpspg")
    assert ("trainer", "DPSPG") in names and ("paper", "DPSPG") in names and ("config", "trainers/DPSPG/mini") in names


def test_what_matches_nothing_is_one_line(capsys):
    assert main(["DPSGP"]) == 2
    err = capsys.readouterr().err
    assert err == "error: nothing is called 'DPSGP'; did you mean 'DPSPG'?\n"


def test_the_exact_name_of_a_trainer_lists_its_options(capsys):
    assert main(["LDPF"]) == 0
    out = capsys.readouterr().out
    for words in (("TRAINER.LDPF.FUSION", "similarity, uniform, gate"), ("TRAINER.LDPF.ADVERSARIAL", "True, False")):
        assert any(all(word in line for word in words) for line in out.splitlines()), words
    row = next(line for line in out.splitlines() if line.startswith("TRAINER.LDPF.CENTERED "))
    assert row.split()[1] == "False"
    assert main(["ldpf"]) == 0 and "TRAINER.LDPF" not in capsys.readouterr().out
    assert main(["ERM"]) == 0 and "no options" in capsys.readouterr().out
