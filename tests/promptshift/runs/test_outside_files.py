"""A trainer file of another repository with the train.py that declares its keys: --extend-cfg."""

import sys
from pathlib import Path

import pytest
import torch

from dassl.config import get_cfg_default, merge_file
from dassl.engine import TRAINER_REGISTRY
from helpers.mini_runs import arguments
from helpers.third_party import drop_in
from promptshift.cli.run import main as protocol
from promptshift.paths import load_plugins
from promptshift.runs.config import build_cfg, config_hash, extend_cfg, flatten
from promptshift.runs.run import main

TRAIN_PY = """
import argparse
import torch
from dassl.config import get_cfg_default
import datasets.no_such_dataset
import trainers.no_such_trainer
from no_such_package import nothing

DEPTH = 9


def extend_cfg(cfg):
    from yacs.config import CfgNode as CN

    cfg.TRAINER.COOP = CN()
    cfg.TRAINER.COOP.N_CTX = 8
    cfg.TRAINER.COOP.CTX_INIT = False
    cfg.TRAINER.COOP.W = 1.0
    cfg.TRAINER.PROMPTSRC = CN()
    cfg.TRAINER.PROMPTSRC.GPA_MEAN = 14
    cfg.TRAINER.MODAL = "base2novel"
    cfg.LOSS = CN()
    cfg.LOSS.DEPTH = DEPTH


if __name__ == "__main__":
    raise RuntimeError("the main program does not run")
"""


@pytest.fixture
def train_py(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(TRAIN_PY)
    return path


def command(*words):
    return ["--trainer", "CoOp", "--dataset-config-file", "configs/datasets/mini.yaml", *map(str, words)]


@pytest.fixture(autouse=True)
def place(checkout_and_output):
    """The current folder is the checkout."""


def test_keys_of_a_public_train_py_are_declared_over_ours(train_py, tmp_path):
    file = tmp_path / "theirs.yaml"
    file.write_text("TRAINER: {COOP: {W: 8.0, CSC: True}, MODAL: cross, PROMPTSRC: {GPA_MEAN: 6.5}}\n")
    cfg, _ = build_cfg(command("--extend-cfg", train_py, "--config-file", file, "LOSS.DEPTH", 3))
    assert (cfg.TRAINER.COOP.W, cfg.TRAINER.COOP.CSC, cfg.TRAINER.MODAL, cfg.LOSS.DEPTH) == (8.0, True, "cross", 3)
    assert cfg.TRAINER.COOP.N_CTX == 8  # theirs; keys that they do not name stay, in our types
    assert cfg.TRAINER.COOP.CTX_INIT == "" and cfg.TRAINER.COOP.CLASS_TOKEN_POSITION == "end"
    assert cfg.TRAINER.PROMPTSRC.GPA_MEAN == 6.5 and cfg.TRAINER.PROMPTSRC.TEXT_LOSS_WEIGHT == 25.0
    assert cfg.EXTEND_CFG == str(train_py)


def test_flag_and_key_value_are_the_same_configuration_and_the_place_of_the_file_is_not_hashed(train_py, monkeypatch):
    flag, _ = build_cfg(command("--extend-cfg", train_py))
    monkeypatch.chdir(train_py.parent)
    short = ["--trainer", "CoOp", "--backbone", "mini", "DATASET.NAME", "MiniDG", "EXTEND_CFG"]
    pairs, _ = build_cfg([*short, "train.py"])
    assert pairs.EXTEND_CFG == flag.EXTEND_CFG
    (train_py.parent / "other.py").write_text(TRAIN_PY)
    other, _ = build_cfg([*short, "other.py"])
    assert config_hash(other) == config_hash(pairs)


def test_without_a_file_nothing_changes():
    plain = get_cfg_default()
    load_plugins()
    extend_cfg(plain)
    assert plain.EXTEND_CFG == "" and "MODAL" not in plain.TRAINER and "W" not in plain.TRAINER.COOP


def test_types_of_a_public_trainer_s_block_are_its_own(train_py, monkeypatch):
    drop_in("coop", monkeypatch)
    cfg, _ = build_cfg(command("--extend-cfg", train_py, "TRAINER.COOP.CTX_INIT", True))
    assert cfg.TRAINER.COOP.CTX_INIT is True  # as KgCoOp's files set it


@pytest.mark.parametrize(
    "text, says",
    [
        (None, "cannot read"),
        ("def extend(cfg): pass\n", "no function extend_cfg"),
        ("def extend_cfg(cfg:\n", "no Python file"),
        ("def extend_cfg(cfg):\n    cfg.NO_SUCH.KEY = 1\n", "fails: AttributeError"),
        ("import sys\nTABLE = {}['a']\n", "line 2"),
    ],
)
def test_a_file_that_is_none_is_one_line(text, says, tmp_path, capsys):
    path = tmp_path / "extension.py"
    if text is not None:
        path.write_text(text)
    assert main(command("--extend-cfg", path)) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith("error: EXTEND_CFG: ") and str(path) in line and says in line and "\n" not in line


@pytest.mark.parametrize("words", [["--extend-cfg", "{}"], ["EXTEND_CFG", "{}"]])
def test_a_protocol_passes_it_on(words, train_py, capsys):
    words = [word.format(train_py) for word in words]
    assert protocol(["few_shot", "CoOp", "mini_b2n", *words, "--dry-run", "--seeds", "1"]) == 0
    planned = [line for line in capsys.readouterr().out.splitlines() if line.startswith("python train.py")]
    assert planned and all(f"EXTEND_CFG {train_py}" in line for line in planned)


@pytest.mark.parametrize("trainer", ["CoOp", "CoCoOp", "MaPLe", "IVLP", "VPT", "PromptSRC", "PromptKD", "KgCoOp"])
def test_our_files_merge_when_a_public_file_took_the_place_of_ours(trainer, monkeypatch):
    load_plugins()
    ours = TRAINER_REGISTRY.get(trainer)
    left = {name: cls for name, cls in TRAINER_REGISTRY._obj_map.items() if cls.__module__ != ours.__module__}
    typed = {key: type(value) for key, value in flatten(fresh()).items() if key.startswith(f"TRAINER.{ours.BLOCK}.")}
    monkeypatch.setattr(TRAINER_REGISTRY, "_obj_map", left)
    for path in Path("configs/trainers", trainer).glob("*.yaml"):
        cfg = fresh()
        merge_file(cfg, str(path))
    kept = {key: type(value) for key, value in flatten(cfg).items() if key in typed}
    assert kept.items() <= typed.items()


def fresh():
    cfg = get_cfg_default()
    extend_cfg(cfg)
    return cfg


def test_a_key_that_nothing_declares_is_one_line(mini_root, tmp_path, monkeypatch, capsys):
    module = drop_in("coop", monkeypatch)

    def build_model(self):
        return self.cfg.TRAINER.COOP.W

    monkeypatch.setattr(module.CoOp, "build_model", build_model)
    assert main(arguments(mini_root, tmp_path / "run", "CoOp")) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ") and "'W'" in line and "--extend-cfg" in line and Path(__file__).name in line


def test_a_table_without_the_data_set_is_one_line(mini_root, tmp_path, monkeypatch, capsys):
    module = drop_in("coop", monkeypatch)
    source = "def build_model(self):\n    return {'OxfordPets': 'a photo of a {}.'}[self.cfg.DATASET.NAME]\n"
    file, names = Path("trainers/theirs.py").resolve(), {}
    exec(compile(source, str(file), "exec"), names)
    monkeypatch.setattr(module.CoOp, "build_model", names["build_model"])
    assert main(arguments(mini_root, tmp_path / "run", "CoOp")) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: DATASET.NAME: 'MiniDG'") and "theirs.py, line 2" in line


def test_other_failures_of_a_trainer_keep_their_traceback(mini_root, tmp_path, monkeypatch):
    module = drop_in("coop", monkeypatch)
    monkeypatch.setattr(module.CoOp, "build_model", lambda self: self.no_such_attribute)
    with pytest.raises(AttributeError, match="no_such_attribute"):
        main(arguments(mini_root, tmp_path / "run", "CoOp"))
    assert sys.stdout is not None


def test_a_finished_run_of_extended_keys_opens_again(train, train_py, tmp_path):
    from promptshift.runs.reopen import reopen

    train("CoOp", "EXTEND_CFG", train_py, "TRAINER.COOP.W", 2.0, "OPTIM.MAX_EPOCH", 1)
    train_py.unlink()
    trainer = reopen(tmp_path / "run")
    assert trainer.cfg.TRAINER.COOP.W == 2.0 and trainer.cfg.LOSS.DEPTH == 9


def test_another_repository_s_clip_package_is_given_the_embedded_models(tmp_path, monkeypatch):
    """Its `_download` fetches an address and takes the checksum from the last folder, as OpenAI's does."""
    import hashlib
    import urllib.request
    from types import ModuleType

    from promptshift.mini import load_mini_state_dict
    from promptshift.runs.outside_files import offer_mini

    theirs = ModuleType("clip_of_theirs.clip")
    theirs._MODELS, theirs._download = {"RN50": "https://example.org/0/RN50.pt"}, None
    monkeypatch.setitem(sys.modules, theirs.__name__, theirs)
    offer_mini()
    assert set(theirs._MODELS) == {"RN50", "mini", "mini_large"}
    address = theirs._MODELS["mini"]
    with urllib.request.urlopen(address) as source:
        content = source.read()
    assert hashlib.sha256(content).hexdigest() == address.split("/")[-2]
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(RuntimeError):
        torch.jit.load(tmp_path / "weights.pt")
    state = torch.load(tmp_path / "weights.pt")
    assert all(torch.equal(value, state[name]) for name, value in load_mini_state_dict().items())
    offer_mini()
    assert theirs._MODELS["mini"] == address


def test_a_copied_trainers_folder_with_its_package_file_leaves_every_trainer_in_place(tmp_path):
    """In a copy of the checkout: an upstream folder over ours, one file of it broken, one under another name."""
    import json
    import shutil
    import subprocess

    for folder in ("promptshift", "dassl", "clip", "trainers", "datasets", "configs"):
        shutil.copytree(folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy("train.py", tmp_path)
    theirs = Path("tests/helpers/third_party")
    (tmp_path / "trainers" / "__init__.py").write_text("")
    shutil.copy(theirs / "coop.py", tmp_path / "trainers" / "coop.py")
    shutil.copy(theirs / "maple.py", tmp_path / "trainers" / "my_maple.py")
    broken = "@TRAINER_REGISTRY.register()\nclass TCP(TrainerX): pass\n"
    (tmp_path / "trainers" / "tcp.py").write_text(f"import pkg_resources_of_old\n{broken}")
    code = (
        "import json, sys\nfrom promptshift.paths import load_plugins\nfrom dassl.engine import TRAINER_REGISTRY as T\n"
        "load_plugins()\nprint(json.dumps({name: T.get(name).__module__ for name in T.registered_names()}))\n"
        "from promptshift.runs.run import main\n"
        "sys.exit(main(['--trainer', 'TCP', 'DATASET.NAME', 'MiniDG']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    found = json.loads(done.stdout.splitlines()[-1])
    load_plugins()
    ours = {name for name, cls in TRAINER_REGISTRY._obj_map.items() if cls.__module__.startswith("trainers.")}
    assert len(ours) > 30 and ours - {"TCP"} == found.keys()  # the broken file stands in the place of ours
    assert found["CoOp"] == "trainers.coop" and found["MaPLe"] == "trainers.my_maple"
    left_out, took, error = done.stderr.strip().splitlines()[-3:]
    assert done.returncode == 2 and error.startswith("error: TRAINER 'TCP': ") and "tcp.py" in error
    assert "pkg_resources_of_old" in error and "'MaPLe'" in left_out + took


@pytest.mark.parametrize("flag", ["--dataset-config-file", "--config-file"])
def test_a_file_of_settings_cannot_name_code(flag, tmp_path, capsys):
    code, ran, settings = tmp_path / "code.py", tmp_path / "ran", tmp_path / "settings.yaml"
    code.write_text(f"open({str(ran)!r}, 'w')\ndef extend_cfg(cfg): pass\n")
    settings.write_text(f"EXTEND_CFG: {code}\n")
    words = ["--trainer", "CoOp", flag, str(settings), "DATASET.NAME", "MiniDG", "MODEL.BACKBONE.NAME", "mini"]
    assert main(words) == 2 and not ran.exists()
    assert "EXTEND_CFG" in capsys.readouterr().err
