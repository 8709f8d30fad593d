"""From the words of a command line to jobs, results and the table, with a stand-in for train.py."""

import csv
import json
import sys
from pathlib import Path

import pytest

from dassl.utils.errors import UserError
from helpers.full_disk import files_end_at
from helpers.result_records import make_record
from promptshift.cli.run import main
from promptshift.protocols.registry import get_protocol, protocols, register
from promptshift.protocols.request import resolve, split_words, trainer_file
from promptshift.protocols.seed_table import MINI_NOTE

CHECKOUT = Path(__file__).resolve().parents[3]
FAKE_TRAIN = (sys.executable, str(Path(__file__).parents[2] / "helpers" / "fake_train.py"))
MINI_DOMAINS = ["art_painting", "cartoon", "photo", "sketch"]


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Runs the command line with a fake train.py: a function (argv, plan of `fake_train`) to the exit code."""
    for name in ("SEEDS", "GPUS", "JOBS", "CFG", "DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OUTPUT", str(tmp_path / "out"))
    monkeypatch.setenv("FAKE", str(tmp_path / "fake.json"))
    # The stand-in cannot work out the configuration's hash, so that every configuration has the record's.
    monkeypatch.setattr("promptshift.runs.config.config_hash", lambda cfg: make_record()["config_hash"])

    def run(argv, plan=None):
        (tmp_path / "fake.json").write_text(
            json.dumps({"record": {"schema_version": 1, **make_record()}, "plan": plan or {}})
        )
        return main(argv.split(), FAKE_TRAIN)

    return run


def plan_of(protocol, trainer, *words, seeds=(1,), config=""):
    return get_protocol(protocol)(resolve(protocol, trainer, words, seeds, config))


@pytest.mark.parametrize(
    ("words", "backbone", "options"),
    [
        (["pacs"], "", ()),
        (["pacs", "RN50"], "RN50", ()),
        (["pacs", "OPTIM.LR", "0.1"], "", ("OPTIM.LR", "0.1")),
        (["pacs", "RN50", "OPTIM.LR", "0.1"], "RN50", ("OPTIM.LR", "0.1")),
    ],
)
def test_an_odd_number_of_words_begins_with_the_backbone(words, backbone, options):
    assert split_words(words) == ("pacs", backbone, options)


def test_multi_source_leaves_every_domain_out_once_per_seed(monkeypatch, tmp_path):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    plan = plan_of("multi_source", "DPSPG", "pacs", "ViT-B/16", "OPTIM.LR", "0.1", seeds=(1, 0))
    assert [job.name for job in plan.jobs] == [f"{domain} seed {seed}" for domain in MINI_DOMAINS for seed in (1, 0)]
    job = plan.jobs[-1]
    assert plan.folder == tmp_path / "multi_source" / "DPSPG" / "PACS" / "default,OPTIM.LR=0.1" / "ViT-B16"
    assert job.output_dir == plan.folder / "sketch" / "seed0"
    words = " ".join(job.argv)
    assert "--seed 0 --source-domains art_painting cartoon photo --target-domains sketch --output-dir" in words
    assert words.endswith("MODEL.BACKBONE.NAME ViT-B/16 PROTOCOL multi_source OPTIM.LR 0.1")
    hashes = [job.config_hash for job in plan.jobs]
    assert len(set(hashes)) == len(hashes), "every job asks for other numbers"
    again = plan_of("multi_source", "DPSPG", "pacs", "ViT-B/16", "OPTIM.LR", "0.1", seeds=(1, 0))
    assert [job.config_hash for job in again.jobs] == hashes


def test_upstreams_names_lead_to_the_same_folder_and_published_rows(monkeypatch, tmp_path):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    plan = plan_of("multi_source", "CoOp", "multi_source/pacs", "RN50")
    assert plan.folder == tmp_path / "multi_source" / "CoOp" / "PACS" / "default" / "RN50"
    assert plan.table({}).rows[1][0] == "CoOp: SPG (arXiv 2404.19286), Table 7"


def test_the_configuration_file_is_the_datasets_then_the_mini_worlds_then_the_default():
    for dataset, name in [("mini", "mini"), ("mini_domainnet", "default"), ("vlcs", "default")]:
        assert trainer_file("ZeroshotCLIP", dataset).stem == name
    assert trainer_file("ZeroshotCLIP", "vlcs", "CoOp/rn50") == CHECKOUT / "configs/trainers/CoOp/rn50.yaml"
    with pytest.raises(UserError, match="configuration 'rn5': no such file in .*CoOp, allowed: .*rn50"):
        trainer_file("CoOp", "vlcs", "rn5")


def test_every_combination_that_a_script_can_choose_has_its_files():
    datasets = [path.stem for path in (CHECKOUT / "configs" / "datasets").glob("*.yaml")]
    trainers = [path.name for path in (CHECKOUT / "configs" / "trainers").iterdir() if list(path.glob("*.yaml"))]
    assert {"mini", "pacs"} <= set(datasets) and {"CoOp", "DPSPG", "ZeroshotCLIP"} <= set(trainers)
    for trainer in trainers:
        for dataset in datasets:
            assert trainer_file(trainer, dataset).is_file(), (trainer, dataset)


def test_few_shot_has_coops_layout(sweep, capsys):
    assert sweep("coop_main pacs rn50 end 16 1 False --dry-run") == 0
    out = capsys.readouterr().out
    for seed in (1, 2, 3):
        assert f"out/pacs/CoOp/rn50_1shots/nctx16_cscFalse_ctpend/seed{seed} " in out
    options = "TRAINER.COOP.N_CTX 16 TRAINER.COOP.CSC False TRAINER.COOP.CLASS_TOKEN_POSITION end DATASET.NUM_SHOTS 1"
    assert out.count(options) == 3


def test_coops_script_takes_the_words_of_a_leave_one_out_run_too(sweep, capsys):
    assert sweep("coop_main mini RN50 OPTIM.LR 0.1 OPTIM.MAX_EPOCH 2 --seeds 1 --dry-run") == 0
    out = capsys.readouterr().out
    assert out.count("# ") == 4 and out.count("PROTOCOL multi_source OPTIM.LR 0.1 OPTIM.MAX_EPOCH 2") == 4


def test_zero_shot_is_one_job_without_a_seed(sweep, capsys):
    assert sweep("zero_shot ZeroshotCLIP pacs --config CoOp/rn50 --dry-run") == 0
    out = capsys.readouterr().out
    assert "--eval-only" in out and "--seed" not in out and "out/ZeroshotCLIP/rn50/pacs" in out


def test_a_sweep_ends_with_the_table_of_known_numbers(sweep, tmp_path, capsys):
    accuracies = dict(zip(MINI_DOMAINS, (80.0, 70.0, 60.0, 50.0)))
    plan = {f"/{domain}/": {"accuracy": value} for domain, value in accuracies.items()}
    plan["sketch/seed2"] = {"accuracy": 54.0}
    assert sweep("multi_source DPSPG mini --seeds 1 2", plan) == 0
    folder = tmp_path / "out" / "multi_source" / "DPSPG" / "MiniDG" / "mini" / "mini"
    rows = list(csv.DictReader((folder / "table.csv").open()))
    assert float(rows[0]["sketch"]) == 52.0 and float(rows[0]["sketch std"]) == 2.0
    assert float(rows[0]["average"]) == 65.5 and float(rows[0]["average std"]) == 0.5
    assert rows[1]["accuracy (%)"] == "paper" and rows[1]["average"] == ""
    text = (folder / "table.md").read_text()
    assert MINI_NOTE in text and "52.00 ± 2.00" in text and "seeds 1 2" in text
    out = capsys.readouterr().out
    assert text in out and (folder / "table.tex").exists()


def test_a_full_disk_costs_the_table_alone_and_is_one_line(sweep, tmp_path, capsys):
    words = "multi_source DPSPG mini --seeds 1"
    assert sweep(words) == 0
    (table,) = tmp_path.rglob("table.md")
    before = table.read_text()
    table.unlink()
    capsys.readouterr()
    with files_end_at(100):
        assert main(words.split(), FAKE_TRAIN) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "the disk is full" in line and str(table) in line
    assert sweep(words) == 0 and table.read_text() == before and not list(tmp_path.rglob(".tmp-*"))


def test_the_papers_row_stands_below_ours_and_real_data_carries_no_mini_note(sweep, tmp_path):
    assert sweep("multi_source CoOp pacs RN50 --seeds 1") == 0
    text = (tmp_path / "out/multi_source/CoOp/PACS/default/RN50/table.md").read_text()
    ours, paper = [line for line in text.splitlines() if line.startswith("| CoOp")]
    assert [cell.strip() for cell in ours.split("|")[2:-1]] == ["50.00"] * 5
    assert [cell.strip() for cell in paper.split("|")[1:-1]] == [
        "CoOp: SPG (arXiv 2404.19286), Table 7",
        "92.00",
        "93.80",
        "98.60",
        "80.70",
        "91.30",
    ]
    assert "Mini world" not in text


def test_unfinished_jobs_show_as_missing_and_are_not_averaged(sweep, tmp_path, capsys):
    assert sweep("multi_source CoOp mini --seeds 1 2", {"photo/seed2": {"crash": "error: no images"}}) == 1
    captured = capsys.readouterr()
    assert "failed photo seed 2: error: no images" in captured.out and "1 of 8 jobs failed" in captured.err
    text = (tmp_path / "out/multi_source/CoOp/MiniDG/mini/mini/table.md").read_text()
    ours = next(line for line in text.splitlines() if line.startswith("| CoOp"))
    cells = [cell.strip() for cell in ours.split("|")[2:-1]]
    assert cells == ["50.00 ± 0.00", "50.00 ± 0.00", "missing (1 of 2 done)", "50.00 ± 0.00", "missing"]
    assert "Did not finish: photo seed 2." in text
    assert sweep("multi_source CoOp mini --seeds 1 2") == 0
    out = capsys.readouterr().out
    assert out.count("skip ") == 7 and out.count("start ") == 1 and "missing" not in out


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ("multi_sauce DPSPG mini", "unknown protocol 'multi_sauce', allowed: base_to_new, cross_dataset, few_shot, "),
        ("multi_source", "TRAINER and DATASET are missing"),
        ("multi_source DPSPG", "DATASET is missing, allowed: "),
        ("multi_source DPSG mini", "did you mean 'DPSPG'?"),
        ("multi_source DPSPG pacz", "'pacz': no such file in"),
        ("multi_source DPSPG mini OPTIM.LRR 0.1", "OPTIM.LRR"),
        ("multi_source DPSPG mini OPTIM.LR fast", "OPTIM.LR"),
        ("multi_source DPSPG mini SEED 3", "SEED 3: the protocol sets this key itself"),
        ("multi_source DPSPG mini DATASET.TARGET_DOMAINS photo", "DATASET.TARGET_DOMAINS"),
        ("multi_source DPSPG mini --config defualt", "did you mean 'default'?"),
        ("multi_source DPSPG mini --seeds one", "'one', allowed: whole numbers of at least 0"),
        ("multi_source DPSPG mini --jobs 0", "'0', allowed: whole numbers of at least 1"),
        ("multi_source DPSPG mini --frobnicate", "--frobnicate"),
    ],
)
def test_wrong_requests_are_one_line_before_any_job_starts(sweep, tmp_path, capsys, argv, named):
    assert sweep(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and named in error
    assert not (tmp_path / "out").exists()


def test_seeds_jobs_and_config_come_from_the_environment(sweep, monkeypatch, capsys):
    monkeypatch.setenv("SEEDS", "0 7")
    monkeypatch.setenv("CFG", "default")
    assert sweep("multi_source DPSPG mini --dry-run") == 0
    out = capsys.readouterr().out
    jobs = [line for line in out.splitlines() if not line.startswith("# ")]
    for seed in (0, 7):
        own = [line for line in jobs if f"--seed {seed} " in line]
        assert len([line for line in own if "--stage " not in line]) == 4  # the runs
        assert len([line for line in own if "--stage labels:" in line]) == 4  # a stage for every domain
    assert "DPSPG/default.yaml" in out
    monkeypatch.setenv("JOBS", "none")
    assert sweep("multi_source DPSPG mini") == 2
    assert "JOBS" in capsys.readouterr().err


def test_protocols_are_discovered_and_two_of_one_name_are_refused():
    assert {"multi_source", "few_shot", "zero_shot"} <= set(protocols())
    with pytest.raises(ValueError, match="two protocols"):
        register("multi_source")(lambda request: None)
