"""The shell scripts: valid in sh and bash, runnable from any directory; what each asks for is planned for real."""

import itertools
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dassl.engine import TRAINER_REGISTRY
from promptshift.cli import main
from promptshift.runs.config import build_cfg

CHECKOUT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((CHECKOUT / "scripts").rglob("*.sh"))
NAMES = [str(path.relative_to(CHECKOUT / "scripts")) for path in SCRIPTS]
VARIABLES = ("DATA", "OUTPUT", "SEEDS", "CFG", "SOURCE", "WEIGHTS", "DRY_RUN", "JOBS", "GPUS")


@pytest.fixture
def call(tmp_path):
    """call(shell, script, *words, cwd, **environment): a script whose Python prints SEEDS and its words, one a line."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho "${SEEDS-}"\nfor word in "$@"; do echo "$word"; done\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)

    def run(shell, name, *words, cwd=tmp_path, **environment):
        variables = {key: value for key, value in os.environ.items() if key not in VARIABLES}
        return subprocess.run(
            [shell, str(CHECKOUT / "scripts" / name), *words],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            env={**variables, "PYTHON": str(python), **environment},
        )

    return run


@pytest.fixture
def answer(call, monkeypatch, capsys, tmp_path):
    """answer(script, *words, **environment) -> (status, out, err) of what the script hands to Python, run right here.

    DRY_RUN is 1 and SEEDS is 1, unless the script or the environment says otherwise.
    """

    def run(name, *words, **environment):
        environment = {"DRY_RUN": "1", "OUTPUT": "output", "DATA": str(tmp_path), **environment}
        given = {key: value for key, value in {"SEEDS": "1", **environment}.items() if value is not None}
        handed_over = call("sh", name, *words, **given)
        assert handed_over.returncode == 0, handed_over.stderr
        seeds, program, *argv = handed_over.stdout.splitlines()
        assert program == str(CHECKOUT / "promptshift")
        for key in VARIABLES:
            monkeypatch.delenv(key, raising=False)
        for key, value in {**given, **({"SEEDS": seeds} if seeds else {})}.items():
            monkeypatch.setenv(key, value)
        monkeypatch.chdir(tmp_path)
        status = main(argv)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def plan(answer, tmp_path):
    """plan(script, *words, **environment) -> the jobs of its dry run, each a dict of flags and keys, "state" too."""

    def planned(*words, **environment):
        status, out, err = answer(*words, **environment)
        assert status == 0, err
        lines = out.splitlines()
        return [Planned(*pair, tmp_path / "output") for pair in zip(lines[::2], lines[1::2])]

    return planned


class Planned:
    """One job of a dry run: its command line and what stands in it."""

    def __init__(self, state, command, output):
        assert state.startswith("# ") and command.startswith("python train.py --root ")
        self.state, self.argv = state.split(": ")[-1], command.split()[2:]
        self.folder = Path(self["--output-dir"]).relative_to(output)
        self.config = Path(self["--config-file"]).stem

    def __getitem__(self, word):
        """What follows a flag or a key; the last one counts."""
        return self.argv[len(self.argv) - self.argv[::-1].index(word)]


SRC, MAPLE = "vit_b16_c2_ep20_batch4_4+4ctx", "vit_b16_c2_ep5_batch4_2ctx"
TRAINERS = {
    "clip_adapter": "CLIP_Adapter",
    "cocoop": "CoCoOp",
    "coop": "CoOp",
    "dept": "DePT",
    "dpc": "DPC",
    "dpl": "DPLCLIP",
    "dpspg": "DPSPG",
    "erm": "ERM",
    "independent-vlp": "IVLP",
    "ivlp": "IVLP",
    "kgcoop": "KgCoOp",
    "language-prompting": "IVLP",
    "ldpf": "LDPF",
    "linear_probe": "LinearProbe",
    "maple": "MaPLe",
    "prograd": "ProGrad",
    "promptalign": "PromptAlign",
    "promptkd": "PromptKD",
    "promptsrc": "PromptSRC",
    "promptsync": "PromptSync",
    "spg": "SPG",
    "tcp": "TCP",
    "tda": "TDA",
    "tip_adapter": "TipAdapter",
    "tpt": "TPT",
    "vp": "VP",
    "vpt": "VPT",
    "zsclip": "ZeroshotCLIP",
}
# beginning of a script's name: its words, its protocol, the folder of its last job ({t}: trainer, {c}: configuration)
KINDS = {
    "main": ("mini", "multi_source", "multi_source/{t}/MiniDG/{c}/"),
    "single_source": ("mini", "single_source", "single_source/{t}/MiniDG/{c}/"),
    "cross_dataset": ("mini", "cross_dataset", "cross_dataset/{t}/MiniDG/{c}/"),
    "base2new_train": ("dtd 1", "base_to_new", "base2new/train_base/dtd/shots_16/{t}/{c}/seed1"),
    "base2new_test": ("dtd 1", "base_to_new", "base2new/test_new/dtd/shots_16/{t}/{c}/seed1"),
    "xd_train": ("imagenet 1", "xd", "imagenet/{t}/{c}_16shots/seed1"),
    "xd_test": ("dtd 1", "xd", "evaluation/{t}/{c}_16shots/dtd/seed1"),
    "few_shot": ("dtd 4", "few_shot", "dtd/{t}/{c}_4shots/seed1"),
    "palign": ("dtd 1", "xd", "evaluation/{t}/{c}_16shots/dtd/seed1"),
    "test_tpt.": ("A 1", "imagenet_variants", "evaluation/{t}/{c}_16shots/imagenet_a/"),
    "test_tpt_c": ("A 1", "imagenet_variants", "evaluation/{t}/{c},TPT.PROMPT=Co"),
    "reproduce_maple.": ("dtd 1 w", "base_to_new", "base2new/test_new/dtd/shots_16/{t}/{c}/seed1"),
    "reproduce_base2novel": ("dtd 1 w", "base_to_new", "base2new/test_new/dtd/shots_16/{t}/{c}/seed1"),
    **dict.fromkeys(
        ("reproduce_ivlp", "reproduce_lp", "reproduce_vpt"),
        ("dtd 1 w", "base_to_new", "base2new/test_new/dtd/shots_16/{t}/{c}/seed1"),
    ),
    "reproduce_maple_xd": ("dtd 1 w", "xd", "evaluation/{t}/{c}_16shots/dtd/seed1"),
    "reproduce_xd": ("dtd 1 w", "xd", "evaluation/{t}/{c}_16shots/dtd/seed1"),
    "reproduce_few_shot": ("dtd 4 w", "few_shot", "few_shot/dtd/{t}/{c}_4shots/seed1"),
}
STARTS_FROM = {"test_tpt_coop.sh": "CoOp ", "test_tpt_cocoop.sh": "CoCoOp ", "palign_dg.sh": "MaPLe "}
STARTS_FROM["palign_finegrain.sh"] = "MaPLe "
# the rest: words, trainers of the jobs, protocol, folder of the last job
OTHERS = {
    "promptshift.sh": ("run main CoOp mini", "CoOp", "multi_source", "multi_source/CoOp/MiniDG/mini/"),
    "protocol.sh": ("multi_source CoOp mini", "CoOp", "multi_source", "multi_source/CoOp/MiniDG/mini/"),
    "step.sh": ("base2new_train CoOp default dtd 1", "CoOp", "base_to_new", "base2new/train_base/dtd/shots_16/CoOp/"),
    "test_time.sh": ("TPT default A 1", "TPT", "imagenet_variants", "evaluation/TPT/"),
    "cocoop/xd_train.sh": ("1", "CoCoOp", "xd", "imagenet/CoCoOp/vit_b16_c4_ep10_batch1_ctxv1_16shots/seed1"),
    "coop/eval.sh": ("dtd rn50", "CoOp", "xd", "evaluation/CoOp/rn50_16shots/nctx16_cscFalse_ctpend/dtd/seed1"),
    "promptkd/xd_train.sh": (
        "caltech101 1",
        "PromptKD",
        "few_shot",
        "caltech101/PromptKD/vit_b16_c2_ep20_batch8_4+4ctx_",
    ),
    "kgcoop/base2new_train.sh": ("dtd 8.0", "KgCoOp", "base_to_new", "base2new/train_base/dtd/shots_16_8.0/KgCoOp/"),
    "kgcoop/base2new_test.sh": ("dtd 8.0", "KgCoOp", "base_to_new", "base2new/test_new/dtd/shots_16_8.0/KgCoOp/"),
    "promptkd/base2new_train.sh": (
        "dtd 1",
        "PromptKD",
        "base_to_new",
        "base2new/train_base/dtd/shots_0/PromptKD/vit_b16_c2_ep20_batch8_4+4ctx/seed_1",
    ),
    "coop/zeroshot.sh": ("dtd rn50", "ZeroshotCLIP", "zero_shot", "ZeroshotCLIP/rn50/dtd"),
    "tda/tda_runner.sh": ("V RN50", "TDA", "imagenet_variants", "evaluation/TDA/imagenetv2_16shots/imagenetv2/"),
    "tda/run_cd_benchmark_rn50.sh": ("", "TDA", "xd", "evaluation/TDA/ucf101_16shots/ucf101/"),
    "tda/run_cd_benchmark_vit.sh": ("", "TDA", "xd", "evaluation/TDA/ucf101_16shots/ucf101/"),
    "tda/run_ood_benchmark_rn50.sh": ("", "TDA", "imagenet_variants", "evaluation/TDA/imagenet_sketch_16shots/"),
    "tda/run_ood_benchmark_vit.sh": ("", "TDA", "imagenet_variants", "evaluation/TDA/imagenet_sketch_16shots/"),
    "tip_adapter/few_shot_f.sh": ("dtd 4", "TipAdapterF", "few_shot", "dtd/TipAdapterF/dtd_4shots/seed1"),
    "tip_adapter/main_f.sh": ("mini", "TipAdapterF", "multi_source", "multi_source/TipAdapterF/MiniDG/mini/"),
    "tip_adapter/main_imagenet.sh": (
        "",
        "TipAdapter",
        "few_shot",
        "imagenet/TipAdapter/imagenet,TIP_ADAPTER.SEARCH=oracle_16shots/seed1",
    ),
    "zsclip/zeroshot.sh": ("dtd rn50", "ZeroshotCLIP", "zero_shot", "ZeroshotCLIP/rn50/dtd"),
    "coop/ablation_few_shot.sh": ("mini_b2n", "CoOp LinearProbe ZeroshotCLIP", "few_shot", "mini_b2n/CoOp/"),
    "dept/coop_dept.sh": ("dtd", "DePT", "base_to_new", "base2new/test_new/dtd/shots_16/DePT_CoOp/{c}/seed1"),
    "dept/cocoop_dept.sh": ("dtd", "DePT", "base_to_new", "base2new/test_new/dtd/shots_16/DePT_CoCoOp/{c}/seed1"),
    "dept/kgcoop_dept.sh": ("dtd", "DePT", "base_to_new", "base2new/test_new/dtd/shots_16/DePT_KgCoOp/{c}/seed1"),
    "dept/maple_dept.sh": ("dtd", "DePT", "base_to_new", "base2new/test_new/dtd/shots_16/DePT_MaPLe/{c}/seed1"),
    "tcp/base2new_train.sh": ("", "TCP", "base_to_new", "base2new/test_new/"),
    "prograd/prograd.sh": (
        "dtd rn50_ep100 end 16 4 False",
        "ProGrad",
        "few_shot",
        "dtd/ProGrad/rn50_ep100_4shots/nctx16_cscFalse_ctpend/seed1",
    ),
    "prograd/base2new_train_prograd.sh": (
        "dtd",
        "ProGrad",
        "base_to_new",
        "base2new/train_base/dtd/shots_4/ProGrad/rn50_ep100/seed1",
    ),
    "prograd/base2new_test_prograd.sh": (
        "dtd",
        "ProGrad",
        "base_to_new",
        "base2new/test_new/dtd/shots_4/ProGrad/rn50_ep100/seed1",
    ),
    "prograd/eval.sh": (
        "imagenetv2 rn50_ep50",
        "ProGrad",
        "xd",
        "evaluation/ProGrad/rn50_ep50_4shots/nctx16_cscFalse_ctpend/imagenetv2/seed1",
    ),
    "dpc/ablation_trade_off.sh": ("mini_b2n", "DPC", "base_to_new", "base2new/test_new/mini_b2n/shots_16/DPC_CoOp/"),
    "dpspg/ablation_prompt_map.sh": ("mini", "SPG", "multi_source", "multi_source/SPG/MiniDG/mini/"),
    "dpspg/ablation_stability.sh": (
        "mini",
        "DPSPG SPG",
        "ablation",
        "ablation/DPSPG/MiniDG/mini/mini/TEST.EVAL_FREQ=1",
    ),
    "dpspg/ablation_variability.sh": ("mini --seeds 1 2", "SPG", "multi_source", "multi_source/SPG/MiniDG/mini/"),
    "ldpf/ablation_granularity.sh": ("mini", "LDPF", "ablation", "ablation/LDPF/MiniDG/mini/mini/TRAINER.LDPF.N_S="),
    "ldpf/ablation_n_s.sh": ("mini", "LDPF", "ablation", "ablation/LDPF/MiniDG/mini/mini/TRAINER.LDPF.N_S="),
}


def expectation(name):
    """Words for a script, the trainers of its jobs, its protocol, and how the folder of its last job begins."""
    if name in OTHERS:
        return OTHERS[name]
    folder, script = name.split("/")
    if script.startswith("ablation"):
        # PromptSync's studies adapt and test by themselves and run no protocol first
        return "mini", "" if folder == "promptsync" else TRAINERS[folder], "", ""
    words, protocol, place = KINDS[max((kind for kind in KINDS if script.startswith(kind)), key=len)]
    return words, STARTS_FROM.get(script, "") + TRAINERS[folder], protocol, place


# Scripts that stand where other repositories have them; COMMANDS holds what they plan.
PUBLIC = ("baseline/", "spg_cgan/", "spg_coop/", "dpspg_coop/", "dpspg_transformer/", "prompt_align/")
PUBLIC += ("base2new_", "run.sh", "xd_train.sh", "test.sh", "test_all.sh", "test_tpt")
COMMANDS = json.loads((CHECKOUT / "tests" / "goldens" / "public_commands.json").read_text())


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(PUBLIC)])
def test_every_script_plans_what_its_name_says(plan, tmp_path, name):
    words, trainers, protocol, place = expectation(name)
    for folder in ("w/seed1", "w/base/seed1", "w/4shot/seed1"):
        (tmp_path / folder).mkdir(parents=True)
    jobs = plan(name, *words.split())
    assert {job["--trainer"] for job in jobs} == set(trainers.split())
    assert {job["PROTOCOL"] for job in jobs} == {protocol} or not protocol
    for last in jobs[-1:]:
        assert str(last.folder).startswith(place.format(t=last["--trainer"], c=last.config))
    assert all(job.state == "not started" for job in jobs) and not (tmp_path / "output").exists()


def expected_jobs(entry):
    """Seed, domain and plan of every job of a public command; None where it has no such."""
    for part in entry["plan"]:
        for seed in part.get("seeds", [None]):
            for domain in part.get("sources") or part.get("targets") or [None]:
                yield seed, domain, part


def same_run(job, part, seed):
    """Whether a job is what a public command asks for, its folder aside."""
    wanted = (TRAINER_REGISTRY.get(part["trainer"]).__name__, part["dataset"], part["config"])
    found = (job["--trainer"], Path(job["--dataset-config-file"]).stem, job.config)
    backbone = part.get("backbone", "") in ("", build_cfg(job.argv)[0].MODEL.BACKBONE.NAME)
    return found == wanted and (seed is None or str(seed) == job["--seed"]) and backbone


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: f"{entry['command']} of {entry['repositories'][0]}")
def test_public_commands_plan_what_they_ask_for_upstream(answer, plan, tmp_path, entry):
    """Trainer, dataset, configuration, seed, backbone and folder of every job; more only trains what is tested."""
    script, *words = entry["command"].removeprefix("scripts/").split()
    for name in ("seed1", "seed2", "seed3", "base/seed1", "base/seed2", "base/seed3"):
        (tmp_path / "W" / name).mkdir(parents=True)
    for shots, seed in itertools.product((1, 2, 4, 8, 16), (1, 2, 3)):
        (tmp_path / "W" / f"{shots}shot" / f"seed{seed}").mkdir(parents=True)
    for part in entry.get("plan", []):
        for domain in part.get("targets", []):
            folder = tmp_path / "test_models" / part["dataset"] / part["backbone"].replace("/", "") / domain
            folder.mkdir(parents=True, exist_ok=True)
    variables = {"SEEDS": None, **entry.get("environment", {})}
    if "refused" in entry:
        status, out, err = answer(script, *words, **variables)
        assert status == 2 and out == "" and err.count("\n") == 1 and entry["refused"] in err
        return
    jobs = plan(script, *words, **variables)
    of_folder = {str(job.folder): job for job in jobs}
    assert {tuple(job.argv) for job in jobs} == {tuple(job.argv) for job in of_folder.values()}
    asked = set()
    for seed, domain, part in expected_jobs(entry):
        if "folder" in part:
            folder = part["folder"].format(seed=seed, domain=domain)
            found = [of_folder[folder]]
        else:
            found = [job for job in jobs if same_run(job, part, seed)]
        assert len(found) == 1 and same_run(found[0], part, seed)
        assert "evaluates" not in part or part["evaluates"] == ("--eval-only" in found[0].argv)
        asked.add(found[0].folder)
    assert not [job.argv for job in jobs if job.folder not in asked and "--eval-only" in job.argv]


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_scripts_parse_and_stop_at_the_first_error(path, shell):
    subprocess.run([shell, "-n", str(path)], check=True)
    assert "set -eu" in path.read_text() and os.access(path, os.X_OK)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "promptshift.sh"])
def test_scripts_are_three_working_lines(name):
    lines = (CHECKOUT / "scripts" / name).read_text().splitlines()
    assert len([line for line in lines if line and not line.startswith("#")]) <= 4


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_script_runs_from_any_folder_with_its_arguments_unchanged(tmp_path, shell):
    """With the real Python, started elsewhere; OUTPUT is the caller's."""
    environment = {key: value for key, value in os.environ.items() if key not in VARIABLES and key != "PYTHON"}
    done = subprocess.run(
        [
            shell,
            os.path.relpath(CHECKOUT / "scripts" / "zsclip" / "main.sh", tmp_path),
            "mini",
            "MODEL.INIT_WEIGHTS",
            "a b",
        ],
        cwd=tmp_path,
        env={**environment, "OUTPUT": "results", "DRY_RUN": "1", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    commands = [shlex.split(line) for line in done.stdout.splitlines()[1::2]]
    assert len(commands) == 4 and all(words[-2:] != ["a", "b"] and "a b" in words for words in commands)
    assert all(f"{tmp_path}/results/multi_source/ZeroshotCLIP/" in " ".join(words) for words in commands)


def test_a_relative_interpreter_is_the_caller_s(call):
    done = call("sh", "dpspg/main.sh", "mini", PYTHON="bin/python")
    assert done.stdout.splitlines()[1:] == [str(CHECKOUT / "promptshift"), *"run multi_source DPSPG mini".split()]


@pytest.mark.parametrize("name", [name for name in NAMES if "source.sh" in name or "cross_dataset" in name])
def test_the_paper_s_single_seed_settings_take_other_seeds_too(call, name):
    assert call("sh", name, "mini").stdout.splitlines()[0] == "1"
    assert call("sh", name, "mini", SEEDS="2 3").stdout.splitlines()[0] == "2 3"


def test_methods_without_chance_have_a_seed_of_their_own(call):
    assert call("sh", "zsclip/main.sh", "mini").stdout.splitlines()[0] == "1"
    assert call("sh", "tpt/test_tpt.sh", "I").stdout.splitlines()[0] == "0"
    assert call("sh", "zsclip/main.sh", "mini", SEEDS="2 3").stdout.splitlines()[0] == "2 3"


@pytest.mark.parametrize(
    "status, stdout, stderr",
    [(0, "promptshift run multi_source DPSPG mini", ""), (1, "", "error: .*make install, or set PYTHON\n")],
)
def test_an_interpreter_without_torch_is_one_line(call, tmp_path, status, stdout, stderr):
    shutil.copytree(CHECKOUT / "scripts", tmp_path / "fresh" / "scripts")
    (tmp_path / "fresh" / "promptshift").mkdir()
    python = tmp_path / "bin" / "python"  # with or without torch: what a search for it answers
    python.write_text(f'#!/bin/sh\ncase $1 in -c) exit {status} ;; *) echo "$@" ;; esac\n')
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    answer = call("sh", str(tmp_path / "fresh" / "scripts" / "dpspg" / "main.sh"), "mini", PYTHON="", PATH=path)
    assert answer.returncode == (2 if status else 0)
    assert answer.stdout.strip() == (f"{tmp_path}/fresh/{stdout}" if stdout else "")
    assert re.fullmatch(stderr, answer.stderr)


def test_a_failing_run_makes_the_script_fail(call, tmp_path):
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\nexit 1\n")
    failing.chmod(0o755)
    assert call("sh", "dpspg/main.sh", "mini", PYTHON=str(failing)).returncode == 1


@pytest.mark.parametrize("words", ["dtd --dry-run", "dtd MaPLe --dry-run", "dtd MaPLe OPTIM.LR 0.1 --dry-run"])
def test_dpc_takes_its_method_wherever_the_flags_stand(plan, words):
    stage, train, test = plan("dpc/main.sh", *words.split(), DRY_RUN="0")
    assert stage["--stage"] == "backbone" and "--stage" not in train.argv + test.argv
    cfg, _ = build_cfg(test.argv)
    assert cfg.TRAINER.DPC.BACKBONE == ("MaPLe" if "MaPLe" in words else "CoOp")
    assert "0.1" not in words or cfg.OPTIM.LR == 0.1


@pytest.mark.parametrize("name, config", [("palign_dg.sh", "dg"), ("palign_finegrain.sh", "default")])
@pytest.mark.parametrize("weights", ["", "/w"])
def test_promptalign_takes_released_weights_by_their_folder_s_name(plan, answer, tmp_path, name, config, weights):
    place = tmp_path / "w" if weights else tmp_path / "weights" / "maple"
    (place / "ori" / "seed2").mkdir(parents=True)
    environment = {"WEIGHTS": str(place)} if weights else {}
    (job,) = plan(f"promptalign/{name}", "dtd", "2", "ori", "OPTIM.LR", "1", "--dry-run", DRY_RUN="", **environment)
    assert job["--model-dir"] == str(place / "ori" / "seed2") and job.config == config and job["OPTIM.LR"] == "1"
    trained, tested = plan(f"promptalign/{name}", "dtd", "2", "--dry-run", DRY_RUN="")
    assert trained["--trainer"] == "MaPLe" and tested["--model-dir"] == trained["--output-dir"]


def test_relative_weights_and_another_source_arrive(plan, tmp_path):
    (tmp_path / "w" / "seed1").mkdir(parents=True)
    (job,) = plan("maple/reproduce_maple_xd.sh", "mini2", "1", "w", SOURCE="mini_b2n")
    assert job["--model-dir"] == f"{tmp_path}/w/seed1" and job["--dataset-config-file"].endswith("mini2.yaml")


def test_options_behind_upstream_s_words_reach_the_runs(plan):
    train, test = plan("maple/base2new_test_maple.sh", "dtd", "2", "OPTIM.LR", "1")
    assert (train["--seed"], train["OPTIM.LR"], train.config) == ("2", "1", MAPLE)
    (job,) = plan("promptsrc/few_shot.sh", "dtd", "4")
    assert job["DATASET.NUM_SHOTS"] == "4" and job.config == f"{SRC.replace('ep20', 'ep50')}_few_shot"


@pytest.mark.parametrize(
    "words, protocol, targets, config",
    [
        ("imagenet", "imagenet_variants", "imagenet imagenetv2 imagenet_sketch imagenet_a imagenet_r", "dg"),
        ("V", "imagenet_variants", "imagenetv2", "dg"),
        ("Flower102", "xd", "oxford_flowers", "default"),
        ("caltech101 OPTIM.LR 1", "xd", "caltech101", "default"),
        ("mini_b2n_sketch", "imagenet_variants", "mini_b2n_sketch", "mini"),
        ("mini2 2", "multi_source", "mini2", "mini"),
        ("mini_b2n", "base_to_new", "mini_b2n", "mini"),
    ],
)
def test_what_adapts_at_test_time_has_the_protocol_of_its_dataset(plan, words, protocol, targets, config):
    jobs = [job for job in plan("promptsync/main.sh", *words.split()) if job["--trainer"] == "PromptSync"]
    assert {job["PROTOCOL"] for job in jobs} == {protocol} and {job.config for job in jobs} == {config}
    assert {Path(job["--dataset-config-file"]).stem for job in jobs} == set(targets.split())
    assert {job["--seed"] for job in jobs} == ({"2"} if words.endswith(" 2") else {"1"})


def test_several_test_sets_run_in_turn_with_one_seed(plan):
    jobs = plan("tpt/test_tpt.sh", "A/K/DTD", "3")
    assert [Path(job["--dataset-config-file"]).stem for job in jobs] == ["imagenet_a", "imagenet_sketch", "dtd"]
    assert {job["--seed"] for job in jobs} == {"3"}
    jobs = plan("tpt/test_tpt_cocoop.sh", "Flower102")
    assert jobs[-1]["TRAINER.TPT.PROMPT"] == "CoCoOp" and jobs[0].config == "vit_b16_c4_ep10_batch1_ctxv1"


def test_coop_s_own_words_run_its_few_shot_protocol(plan):
    (job,) = plan("coop/main.sh", "dtd", "rn50_ep50", "end", "16", "1", "False", SEEDS="2")
    assert str(job.folder) == "dtd/CoOp/rn50_ep50_1shots/nctx16_cscFalse_ctpend/seed2"
    assert all(job["PROTOCOL"] == "base_to_new" for job in plan("coop/main.sh", "dtd", "ViT-B/16", "OPTIM.LR", "1"))


def test_promptkd_trains_on_unlabelled_images_of_another_dataset(plan):
    teacher, job = plan("promptkd/xd_train.sh", "caltech101", "2", "OPTIM.LR", "0.1")
    assert teacher["--stage"] == "teacher" and "--stage" not in job.argv
    cfg, args = build_cfg(job.argv)
    assert not args.eval_only
    assert (cfg.TRAINER.PROMPTKD.MODAL, cfg.DATASET.NUM_SHOTS, cfg.SEED, cfg.OPTIM.LR) == ("cross", 0, 2, 0.1)
    assert cfg.TRAINER.PROMPTKD.PROMPT_DEPTH_VISION == 3
    folder = "caltech101/PromptKD/vit_b16_c2_ep20_batch8_4+4ctx_cross_datasets{}_0shots/seed2"
    assert str(job.folder) == folder.format(",OPTIM.LR=0.1")
    _, job = plan("promptkd/xd_train.sh", "caltech101", "2")
    assert str(job.folder) == folder.format("")  # as upstream's


def test_testing_on_the_source_itself_waits_for_its_training(plan):
    train, test = plan("coop/eval.sh", "mini_b2n", "mini", SOURCE="mini_b2n")
    (trained, _), (tested, args) = build_cfg(train.argv), build_cfg(test.argv)
    assert args.eval_only and args.model_dir == trained.OUTPUT_DIR and trained.DATASET.NAME == tested.DATASET.NAME
    assert tested.OUTPUT_DIR.endswith("evaluation/CoOp/mini_16shots/nctx16_cscFalse_ctpend/mini_b2n/seed1")


@pytest.mark.parametrize(
    "line, named",
    [
        ("promptsync/main.sh", "DATASET is missing"),
        ("maple/base2new_train_maple.sh dtd", "DATASET SEED"),
        ("promptsrc/few_shot.sh dtd", "DATASET SHOTS"),
        ("maple/reproduce_maple.sh dtd 1", "DATASET SEED WEIGHTSPATH"),
        ("dpc/main.sh", "DATASET"),
        ("zsclip/zeroshot.sh pacs", "DATASET CFG"),
        ("cocoop/xd_train.sh", "takes SEED"),
        ("coop/eval.sh dtd", "DATASET CFG"),
        ("coop/main.sh dtd rn50 end 16 1", "DATASET CFG CTP NCTX SHOTS CSC"),
        ("coop/main.sh dtd rn50 centre 16 1 False", "CTP front, middle or end"),
        ("step.sh base_to_newer CoOp default dtd 1", "base2new_train"),
    ],
)
def test_missing_arguments_are_one_line(answer, line, named):
    status, out, err = answer(*line.split())
    assert (status, out) == (2, "") and named in err and err.startswith("error: ") and err.count("\n") == 1


def test_a_step_without_its_words_is_one_line(call):
    done = call("sh", "step.sh", "xd_train")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "name",
    [name for name in NAMES if re.search(r"\.\./(step|test_time)\.sh", (CHECKOUT / "scripts" / name).read_text())],
)
def test_the_configuration_that_a_script_names_is_shipped(call, name):
    words = call("sh", name, "dtd", "1", "w").stdout.splitlines()
    trainer, config = words[words.index("--as") + 2], words[words.index("--default-config") + 1]
    assert (CHECKOUT / "configs" / "trainers" / trainer / f"{config}.yaml").is_file()


def test_tda_s_own_words_give_every_test_set_its_own_settings(plan):
    jobs = plan("tda/tda_runner.sh", "I/R/fgvc", "RN50")
    assert [job.config for job in jobs] == ["imagenet", "imagenet_r", "fgvc_aircraft"]
    cfgs = [build_cfg(job.argv)[0] for job in jobs]
    assert [cfg.DATASET.NAME for cfg in cfgs] == ["ImageNet", "ImageNetR", "FGVCAircraft"]
    assert [(cfg.TRAINER.TDA.VIEWS, cfg.TRAINER.TDA.POSITIVE.BETA) for cfg in cfgs] == [(1, 5.0), (64, 8.0), (1, 2.0)]
    assert {cfg.MODEL.BACKBONE.NAME for cfg in cfgs} == {"RN50"}


def test_tip_adapter_searches_on_test_images_where_its_script_is_the_released_one_for_imagenet(plan):
    (job,) = plan("tip_adapter/main_imagenet.sh")
    assert build_cfg(job.argv)[0].TRAINER.TIP_ADAPTER.SEARCH == "oracle" and job["DATASET.NUM_SHOTS"] == "16"
    (job,) = plan("tip_adapter/few_shot.sh", "imagenet", "16")
    assert build_cfg(job.argv)[0].TRAINER.TIP_ADAPTER.SEARCH == "val"
