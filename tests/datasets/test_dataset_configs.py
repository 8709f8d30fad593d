"""Every dataset configuration names a registered dataset."""

import importlib
from pathlib import Path

import pytest
import yaml

import datasets
from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from datasets._image_facts import IMAGE_SETS
from datasets.domain_sets import domain_sets
from promptshift.discovery import import_modules
from promptshift.runs.config import extend_cfg

FOLDER = Path(datasets.__file__).parents[1] / "configs" / "datasets"


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_configuration_is_accepted_and_names_a_dataset(path):
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.merge_from_file(str(path))
    assert DATASET_REGISTRY.get(cfg.DATASET.NAME)
    own = cfg.DATASET.NAME == "FolderDG"
    assert list(yaml.safe_load(path.read_text())["DATASET"]) == (["NAME", "FOLDER"] if own else ["NAME"])


@pytest.mark.parametrize("facts", (domain_sets | IMAGE_SETS).values(), ids=lambda facts: facts.name)
def test_every_member_of_the_table_has_a_configuration_and_registered_aliases(facts):
    named = [yaml.safe_load(path.read_text())["DATASET"]["NAME"] for path in FOLDER.glob("*.yaml")]
    assert facts.name in named
    for alias in (facts.name, *facts.aliases):
        assert DATASET_REGISTRY.get(alias).facts is facts


def test_a_new_file_of_the_folder_registers_itself(tmp_path, monkeypatch):
    package = tmp_path / "folder_of_datasets"
    package.mkdir()
    (package / "__init__.py").write_text(Path(datasets.__file__).read_text())
    (package / "mine.py").write_text("registered = True\n")
    (package / "_hidden.py").write_text("raise RuntimeError('helpers are not imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_modules("folder_of_datasets")
    assert importlib.import_module("folder_of_datasets.mine").registered
