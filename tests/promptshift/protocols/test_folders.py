"""Folders of jobs: variants beside the first run, tables beside no seeds, tested weights where upstream has them."""

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.protocol_plans import plan_of
from promptshift.cli import main
from promptshift.cli.upstream import calls
from promptshift.runs.stored_config import differences

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def output(monkeypatch, tmp_path):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "words, stem",
    [
        ([], "default"),
        (["OPTIM.LR", "0.1"], "default,OPTIM.LR=0.1"),
        (["OPTIM.LR", "0.002"], "default"),
        (["OPTIM.LR", "0.1", "OPTIM.LR", "0.002"], "default"),
        (["TRAIN.PRINT_FREQ", "1", "USE_CUDA", "False", "DATALOADER.NUM_WORKERS", "0"], "default"),
        (["TRAINER.MAPLE.N_CTX", "3"], "default"),
        (["TRAINER.COOP.CTX_INIT", "an image of"], "default,COOP.CTX_INIT=an_image_of"),
        (["TRAINER.COOP.CTX_INIT", "a photo, of/a?"], "default,COOP.CTX_INIT=a_photo,_of_a_~"),
        (["MODEL.BACKBONE.NAME", "RN50", "OPTIM.MAX_EPOCH", "3"], "default,MODEL.BACKBONE.NAME=RN50,OPTIM.MAX_EPOCH=3"),
        (["DATASET.NUM_SHOTS", "4"], "default"),
    ],
)
def test_words_that_change_numbers_name_the_folder(words, stem):
    jobs = plan_of("base_to_new", "CoOp", "dtd", *words).jobs
    for job in jobs:
        place = job.output_dir.parent.name
        assert place.startswith(stem) if stem.endswith("~") else place == stem


def test_two_texts_that_make_one_name_stay_apart():
    first, second = (
        plan_of("base_to_new", "CoOp", "dtd", "TRAINER.COOP.CTX_INIT", text).jobs[0]
        for text in ("a photo?", "a photo!")
    )
    assert first.output_dir != second.output_dir and len(first.output_dir.parent.name) < 255
    long = plan_of("base_to_new", "CoOp", "dtd", "TRAINER.COOP.CTX_INIT", "photo " * 60).jobs[0]
    assert len(long.output_dir.parent.name) < 255


@pytest.mark.parametrize(
    "protocol, words, named",
    [
        ("few_shot", ["dtd", "DATASET.NUM_SHOTS", "4", "TRAINER.COOP.N_CTX", "8"], "4shots"),
        ("multi_source", ["pacs", "MODEL.BACKBONE.NAME", "RN50"], "default"),
        ("base_to_new", ["dtd", "RN50"], "default"),
    ],
)
def test_what_a_folder_names_by_itself_is_not_named_twice(protocol, words, named):
    for job in plan_of(protocol, "CoOp", *words).jobs:
        assert "=" not in str(job.output_dir) and named in str(job.output_dir)


def test_variants_of_the_weights_that_are_evaluated_stay_apart_too():
    usual, variant = (plan_of("xd", "MaPLe", "imagenet", *words) for words in ([], ["OPTIM.LR", "0.1"]))
    assert not {job.output_dir for job in usual.jobs} & {job.output_dir for job in variant.jobs}
    assert {job.call.model_dir for job in variant.jobs[1:]} == {variant.jobs[0].output_dir}
    assert usual.folder != variant.folder


def test_tpt_on_each_of_its_prompts_has_a_folder():
    prompts = ([], ["TRAINER.TPT.PROMPT", "CoOp"], ["TRAINER.TPT.PROMPT", "CoCoOp"])
    folders = [plan_of("xd", "TPT", "imagenet", *words).jobs[-1].output_dir for words in prompts]
    assert len(set(folders)) == 3 and "TPT.PROMPT=CoOp" in str(folders[1])


@pytest.mark.parametrize("protocol", ["few_shot", "few_shot_sweep", "xd", "base_to_new"])
def test_no_table_stands_beside_seeds_or_the_folders_of_seeds(protocol):
    """Upstream's parse_test_res.py takes everything beside a seed for one, with --multi-exp one folder higher."""
    plan = plan_of(protocol, "CoOp", "imagenet" if protocol == "xd" else "dtd", seeds=(1, 2))
    for job in plan.jobs:
        assert plan.folder.parent not in job.output_dir.parents[:2]
        assert plan.folder not in job.output_dir.parents


def test_weights_from_elsewhere_never_stand_for_an_own_evaluation(output):
    """Both write to upstream's folder; the result of the one is no result of the other."""
    (output / "w" / "base" / "seed1").mkdir(parents=True)
    (asked,) = calls("reproduce_base2new", "MaPLe", ["dtd", "1", str(output / "w")])
    given = plan_of("base_to_new", "MaPLe", *asked.words, weights=asked.flags["weights"]).moved(asked.place)
    own = plan_of("base_to_new", "MaPLe", "dtd")
    (theirs,) = [job for job in given.jobs if job.cell[1] == "New"]
    (ours,) = [job for job in own.jobs if job.cell[1] == "New"]
    assert theirs.output_dir == ours.output_dir and theirs.config_hash != ours.config_hash
    assert set(differences(theirs.cfg, ours.cfg, lambda key: False)) == {"TEST.WEIGHTS"}


def test_a_moved_plan_reads_the_weights_where_they_now_are():
    plan = plan_of("base_to_new", "CoOp", "dtd", seeds=(1, 2))
    moved = plan.moved(lambda path: Path("elsewhere", path))
    train, test = moved.jobs[0], moved.jobs[2]
    assert test.call.model_dir == train.output_dir and "elsewhere" in train.output_dir.parts
    assert train.cfg.OUTPUT_DIR == str(train.output_dir) and train.config_hash == plan.jobs[0].config_hash


@pytest.mark.parametrize("weight", ["x", "-1", "nan"])
def test_kgcoop_s_second_word_is_a_weight(capsys, weight):
    assert main(["run", "--as", "kgcoop_train", "KgCoOp", "dtd", weight, "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "WEIGHT" in error and "SEEDS" in error


def test_seeds_of_a_form_are_those_of_the_script_unless_the_user_names_others(capsys, monkeypatch):
    def seeds(*words):
        assert main(["run", "--as", "spg_single", "SPG", "pacs", "spg", "RN50", "--dry-run", *words]) == 0
        return {word.split("--seed ")[1].split()[0] for word in capsys.readouterr().out.splitlines()[1::2]}

    monkeypatch.delenv("SEEDS", raising=False)
    assert seeds() == {"1"} and seeds("--seeds", "3", "4") == {"3", "4"}
    monkeypatch.setenv("SEEDS", "5")
    assert seeds() == {"5"}


def test_the_parser_reads_a_few_shot_folder_with_its_table_written(output, capsys, monkeypatch):
    """A run of two seeds in the embedded world, its table, and CoOp's rule: every entry is a folder with log.txt."""
    monkeypatch.setenv("DATA", str(output / "data"))
    words = "few_shot CoOp mini_b2n DATASET.NUM_SHOTS 1 OPTIM.MAX_EPOCH 1 --seeds 1".split()
    command = [sys.executable, str(CHECKOUT / "promptshift"), "run", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (table,) = output.rglob("table.md")
    (seed,) = output.rglob("seed1")
    assert [path.name for path in seed.parent.iterdir()] == ["seed1"] and (seed / "log.txt").is_file()
    assert seed.parent not in table.parents and "OPTIM.MAX_EPOCH=1" in str(seed)
