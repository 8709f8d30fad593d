"""Which domains are sources and targets, from names, codes, aliases and empty lists."""

import pytest

from dassl.utils.errors import UserError
from datasets.domain_sets import choose_domains, domain_sets, find_domain_set
from helpers.dataset_trees import PACS, build, make_pacs

PACS_FACTS = domain_sets["PACS"]


@pytest.mark.parametrize("name", list(domain_sets))
def test_every_code_and_every_name_resolves(name):
    facts = domain_sets[name]
    assert list(facts.domains) == sorted(facts.domains)
    for code, domain in facts.codes.items():
        source, target = choose_domains(facts, name, [], [code])
        assert target == [domain] and source == [other for other in facts.domains if other != domain]
        assert choose_domains(facts, name, [], [domain]) == (source, target)


@pytest.mark.parametrize(
    "name, codes",
    [
        ("PACS", {"a": "art_painting", "c": "cartoon", "p": "photo", "s": "sketch"}),
        ("VLCS", {"c": "caltech", "l": "labelme", "p": "pascal", "s": "sun"}),
        ("OfficeHome", {"a": "art", "c": "clipart", "p": "product", "r": "real_world"}),
        ("TerraIncognita", {"1": "location_100", "2": "location_38", "3": "location_43", "4": "location_46"}),
        (
            "DomainNet",
            {"c": "clipart", "i": "infograph", "p": "painting", "q": "quickdraw", "r": "real", "s": "sketch"},
        ),
    ],
)
def test_codes_are_upstreams(name, codes):
    assert domain_sets[name].codes == codes


def test_totals_are_the_published_ones():
    totals = {
        name: sum(facts.totals.values()) for name, facts in domain_sets.items() if None not in facts.totals.values()
    }
    assert totals == {
        "PACS": 9991,
        "VLCS": 10729,
        "OfficeHome": 15588,
        "TerraIncognita": 24330,
        "DomainNet": 586575,
        "MiniDG": 4800,
        "MiniDG2": 1080,
        "MiniDG3": 1080,
    }


def test_given_order_is_kept_and_repeats_are_dropped():
    assert choose_domains(PACS_FACTS, "PACS", ["s", "photo", "s"], ["a"]) == (["sketch", "photo"], ["art_painting"])


def test_empty_targets_become_the_others():
    assert choose_domains(PACS_FACTS, "SINGLE_PACS", ["p"], []) == (["photo"], ["art_painting", "cartoon", "sketch"])


def test_coop_names_mirror_the_given_side():
    assert choose_domains(PACS_FACTS, "SPG_PACS_CoOp", ["p"], []) == (["photo"], ["photo"])
    assert choose_domains(PACS_FACTS, "PACS_CoOp", [], ["p"]) == (["photo"], ["photo"])


def test_cross_name_uses_every_domain():
    facts = domain_sets["DomainNet"]
    assert choose_domains(facts, "CROSS_DomainNet", [], []) == (list(facts.domains), list(facts.domains))


@pytest.mark.parametrize(
    "sources, targets, words",
    [
        ([], [], ["SOURCE_DOMAINS", "TARGET_DOMAINS", "--target-domains", "photo (p)"]),
        ([], ["fotos"], ["TARGET_DOMAINS", "'fotos'", "PACS", "photo (p)", "sketch (s)"]),
        (["x"], ["p"], ["SOURCE_DOMAINS", "'x'", "art_painting (a)"]),
        ([], list(PACS), ["SOURCE_DOMAINS", "no domain of PACS is left"]),
        (["p", "s"], ["p"], ["TARGET_DOMAINS", "photo", "also in"]),
    ],
)
def test_bad_choices_are_one_clear_line(sources, targets, words):
    with pytest.raises(UserError) as error:
        choose_domains(PACS_FACTS, "PACS", sources, targets)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_misspelt_domain_is_suggested():
    with pytest.raises(UserError, match="did you mean 'photo'"):
        choose_domains(PACS_FACTS, "PACS", [], ["phto"])


@pytest.mark.parametrize(
    "alias", ["PACS", "PACS_CoOp", "SPG_PACS", "SPG_PACS_CoOp", "DPSPG_PACS", "DPSPG_PACS_CoOp", "SINGLE_PACS"]
)
def test_upstream_names_build_the_same_dataset(tmp_path, alias):
    make_pacs(tmp_path, ("dog", "horse"), 4)
    data = build(tmp_path, alias, ("p", "s"), ("a",))
    assert data.source_domains == ["photo", "sketch"] and data.num_classes == 2


@pytest.mark.parametrize(
    "name, found",
    [
        ("pacs", "PACS"),
        ("office_home", "OfficeHome"),
        ("terra_incognita", "TerraIncognita"),
        ("mini", "MiniDG"),
        ("mini_domainnet", "MiniDomainNet"),
        ("CROSS_DomainNet_TEST", "DomainNet"),
    ],
)
def test_find_domain_set_takes_config_names_and_aliases(name, found):
    assert find_domain_set(name).name == found


def test_find_domain_set_names_the_nearest():
    with pytest.raises(UserError, match="unknown dataset 'PAKS'.*OfficeHome.*did you mean 'PACS'"):
        find_domain_set("PAKS")
