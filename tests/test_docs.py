"""Every example of the documentation is run: commands for real or as a dry run, Python examples on small data."""

import importlib.util
import json
import os
import re
import subprocess

import pytest
import torch
import yaml

from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY
from helpers.dataset_trees import build, write_images
from helpers.doc_pages import CHECKOUT, PAGES, blocks, calls_of, commands, without_blocks
from helpers.golden_trainers import batch, trainer_on_golden_clip
from helpers.mini_runs import arguments
from helpers.report_trees import write_run
from promptshift.cli import main
from promptshift.launch.resources import resources, split_launch_words
from promptshift.protocols import registry
from promptshift.results.parse_logs import main as parse_test_res
from promptshift.runs.config import build_cfg
from promptshift.runs.run import main as train
from promptshift.studies.bench import Bench
from promptshift.studies.registry import get_study

DOCS = CHECKOUT / "docs"
LINES = sorted({line for page in PAGES for line in commands(page)})


@pytest.fixture(scope="module")
def place(mini_root, tmp_path_factory):
    """A folder as a user has it after the first examples: data/, and output/ with a finished run of CoOp and others."""
    place = tmp_path_factory.mktemp("place")
    (place / "data").mkdir()
    os.symlink(mini_root / "mini_dg", place / "data" / "mini_dg")
    os.chdir(CHECKOUT)
    argv = arguments(mini_root, place / "output" / "try" / "seed1", "CoOp", "OPTIM.MAX_EPOCH", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTPUT", str(place / "output"))
        assert train(argv) == 0
    for seed in (1, 2):
        write_run(place / "output" / "maple" / f"seed{seed}", 70.0 + seed, "MaPLe", seed=seed)
    return place


def _answer(words):
    """The exit status of `promptshift WORDS`, also where argparse ends after its help."""
    try:
        return main(words)
    except SystemExit as end:
        return end.code


def _promptshift(words, place, monkeypatch):
    """Runs the words of the command `promptshift` as far as that is quick and needs no network."""
    command = words[0]
    if "--help" in words or command == "list":
        assert _answer(words) == 0
    elif command == "run":
        assert _answer([*words, *([] if "--dry-run" in words else ["--dry-run"])]) == 0
    elif command == "train":
        build_cfg(words[1:])
    elif command == "data":  # 1: the report is there, and so are its problems
        shown = ["data", "check" if words[1] == "prepare" else words[1], *words[2:], "--root", str(place / "data")]
        assert _answer(shown) in ((0,) if words[1] == "list" else (0, 1))
    elif command == "study":
        get_study(words[1])
        words, asked = split_launch_words([word for word in words if word not in ("--launcher", "slurm")])
        assert resources("slurm", words=asked)
        assert Bench(words[2:], [1]).request("CoOp").cfg.DATASET.NAME
    elif command == "status":
        monkeypatch.chdir(place)
        monkeypatch.setenv("OUTPUT", str(place / "output"))
        for folder in (word for word in words[1:] if not word.startswith("-")):
            (place / folder).mkdir(exist_ok=True)
        assert _answer(words) == 0
    elif command in ("predict", "report"):
        monkeypatch.chdir(place)
        assert _answer(words) == 0
    else:
        pytest.fail(f"no test knows how to run: promptshift {' '.join(words)}")


@pytest.mark.parametrize("line", LINES)
def test_every_command_runs(line, place, tmp_path, monkeypatch, capsys):
    (tmp_path / "weights" / "maple" / "seed1").mkdir(parents=True)  # ~/weights/maple
    for program, words, environment in calls_of(line, tmp_path):
        monkeypatch.chdir(CHECKOUT)
        monkeypatch.setenv("SEEDS", "1")  # a plan of one seed is shown sooner
        for key, value in {"OUTPUT": str(tmp_path / "output"), "DATA": str(tmp_path), **environment}.items():
            monkeypatch.setenv(key, value)
        if program == "make":
            subprocess.run(["make", "-n", *words], cwd=CHECKOUT, check=True, capture_output=True)
        elif program == "promptshift":
            _promptshift(words, place, monkeypatch)
        elif words[:2] == ["-m", "promptshift"]:
            _promptshift(words[2:], place, monkeypatch)
        elif words[0] == str(CHECKOUT / "promptshift"):  # as the scripts call it from any folder
            _promptshift(words[1:], place, monkeypatch)
        elif words[0] == "train.py":
            build_cfg(words[1:])
        elif words[0] == "parse_test_res.py":
            monkeypatch.chdir(place)
            assert parse_test_res(words[1:]) == 0
        else:
            pytest.fail(f"no test knows how to run: {program} {' '.join(words)}")
        monkeypatch.delenv("SEEDS", raising=False)


@pytest.mark.parametrize("line", ["ls docs", "bash docs/x.sh", "promptshift", "promptshift runs", "python other.py"])
def test_a_line_of_an_unknown_kind_fails(line, place, tmp_path, monkeypatch):
    with pytest.raises((AssertionError, IndexError, pytest.fail.Exception)):
        test_every_command_runs(line, place, tmp_path, monkeypatch, None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", without_blocks(page))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_method_shown_first_is_the_one_that_runs():
    (shown,) = blocks(CHECKOUT / "README.md", "python")
    source = iter((CHECKOUT / "trainers" / "kgcoop.py").read_text().splitlines())
    missing = [line for line in shown.splitlines() if line and line not in source]  # in the order of the file
    assert missing == []


def test_the_drawing_is_what_its_script_draws_and_shows_rooms_that_exist():
    script = _module(DOCS / "draw_house.py")
    assert (DOCS / "house.svg").read_text() == script.house()
    assert [name for _, rooms in script.FLOORS for name, _ in rooms if not (CHECKOUT / name).is_dir()] == []


def test_the_plan_of_the_house_names_what_exists_and_every_room():
    text = (DOCS / "architecture.md").read_text()
    named = {word for word in re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:/|\.py))`", text) if "/" in word}
    absent = [
        word for word in named if not any((CHECKOUT / top / word).exists() for top in ("", "promptshift", "tests"))
    ]
    assert sorted(set(absent) - {"checks/"}) == []
    rooms = {
        f"promptshift/{path.name}/" for path in (CHECKOUT / "promptshift").iterdir() if (path / "__init__.py").is_file()
    }
    assert rooms <= named


def _module(path, source=None):
    """Imports a file, which is written first where its source is given."""
    if source is not None:
        path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def registries(monkeypatch):
    """What an example registers is forgotten after the test."""
    for known in (TRAINER_REGISTRY, DATASET_REGISTRY):
        monkeypatch.setattr(known, "_obj_map", dict(known._obj_map))
    monkeypatch.setattr(registry, "_PROTOCOLS", dict(registry.protocols()))


@pytest.fixture
def guided_coop(registries, tmp_path):
    """The class of the example of add_a_paper.md."""
    (source,) = blocks(DOCS / "add_a_paper.md", "python")
    return _module(tmp_path / "guided_coop.py", source).GuidedCoOp


def test_the_paper_of_the_example_trains(guided_coop, mini_root, tmp_path, monkeypatch):
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))
    (config,) = blocks(DOCS / "add_a_paper.md", "yaml")
    (tmp_path / "mini.yaml").write_text(config)
    argv = arguments(mini_root, tmp_path / "run", "CoOp", "DATALOADER.TRAIN_X.FEATURE_VIEWS", 0, "OPTIM.MAX_EPOCH", 1)
    argv[argv.index("--trainer") + 1] = "GuidedCoOp"
    argv[argv.index("--config-file") + 1] = str(tmp_path / "mini.yaml")
    assert train(argv) == 0
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["trainer"] == "GuidedCoOp" and record["history"][0]["kl"] > 0 and record["metrics"]["accuracy"] > 50


def test_no_step_of_the_example_goes_against_its_guide(guided_coop):
    trainer = trainer_on_golden_clip(guided_coop, N_CTX=4, CTX_INIT="a photo of a")
    ctx = trainer.prompt_learner.ctx
    ctx.data += 0.05 * torch.randn(ctx.shape, generator=torch.Generator().manual_seed(0))
    trainer.loss(batch())["loss"].backward()
    along = torch.randn(ctx.shape, generator=torch.Generator().manual_seed(1))
    for against in (False, True):
        before = (-trainer.guide if against else trainer.guide) * 3 + along * trainer.guide.norm() / along.norm() / 9
        ctx.grad = before.clone()
        trainer.after_backward(["prompt_learner"])
        if against:
            assert (ctx.grad * trainer.guide).sum().abs() < 1e-5 * trainer.guide.square().sum()
        else:
            assert torch.equal(ctx.grad, before)


def test_the_script_of_the_example_is_as_the_others_are():
    (script,) = blocks(DOCS / "add_a_paper.md", "sh")
    ours = (CHECKOUT / "scripts" / "kgcoop" / "main.sh").read_text()
    assert set(script.replace("GuidedCoOp", "KgCoOp").splitlines()) <= set(ours.splitlines())


def test_the_datasets_of_the_examples_hold_the_images(registries, tmp_path):
    for domain in ("day", "night"):
        for name in ("bear", "car", "duck"):
            write_images(tmp_path / "toys" / domain / name, 10)
    named, listed = blocks(DOCS / "add_a_dataset.md", "python")
    options = yaml.safe_load(blocks(DOCS / "add_a_dataset.md", "yaml")[0])["DATASET"]
    for name, more in ((options["NAME"], {"FOLDER": options["FOLDER"]}), ("Toys", {})):
        if name == "Toys":
            _module(tmp_path / "toys.py", named)
        data = build(tmp_path, name, (), ("night",), **more)
        assert data.classnames == ["bear", "car", "duck"] and data.source_domains == ["day"]
        assert (len(data.train_x), len(data.val), len(data.test)) == (21, 9, 30)
    assert build(tmp_path, "Toys", ("n",), ("d",)).target_domains == ["day"]
    _module(tmp_path / "listed.py", listed)
    write_images(tmp_path / "listed", 6)
    for part in ("train", "val", "test"):
        lines = [f"{i:03}.png {i % 2} {('day lily', 'rose')[i % 2]}\n" for i in range(6)]
        (tmp_path / "listed" / f"{part}.txt").write_text("".join(lines))
    data = build(tmp_path, "Listed", SUBSAMPLE_CLASSES="new")
    assert data.classnames == ["rose"] and len(data.train_x) == len(data.test) == 3


def test_the_protocol_of_the_example_plans_its_runs(registries, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    (source,) = blocks(DOCS / "add_a_protocol.md", "python")
    _module(tmp_path / "in_domain.py", source)
    assert main(["run", "in_domain", "CoOp", "mini", "--seeds", "1", "--dry-run"]) == 0
    jobs = [line for line in capsys.readouterr().out.splitlines() if line.startswith("python train.py")]
    assert len(jobs) == 4 and all(re.search(r"--source-domains (\w+) --target-domains \1 ", job) for job in jobs)
