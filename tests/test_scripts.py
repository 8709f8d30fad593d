"""The shell scripts: valid in sh and bash, runnable from any directory, arguments passed on unchanged."""

import os
import re
import shlex
import shutil
import stat
import subprocess
import textwrap
from pathlib import Path

import pytest

from promptshift.cli.run import main
from promptshift.runs.config import build_cfg

CHECKOUT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((CHECKOUT / "scripts").rglob("*.sh"))
NAMES = [str(path.relative_to(CHECKOUT)) for path in SCRIPTS]
PROTOCOL_SCRIPTS = [
    name for name in NAMES if name not in ("scripts/promptshift.sh", "scripts/step.sh", "scripts/test_time.sh")
]


@pytest.fixture
def call(tmp_path):
    """Runs a script with a stand-in for Python that prints its folder, variables and arguments."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        textwrap.dedent("""\
        #!/bin/sh
        echo "$PWD|${OUTPUT:-}|${SEEDS:-}"
        echo "$1"; echo "$2 $3"; shift 3
        for word in "$@"; do echo "$word"; done
    """)
    )
    python.chmod(python.stat().st_mode | stat.S_IXUSR)

    def run(shell, name, *words, cwd=tmp_path, **environment):
        variables = {key: value for key, value in os.environ.items() if key not in ("DATA", "OUTPUT", "SEEDS", "CFG")}
        return subprocess.run(
            [shell, str(CHECKOUT / name), *words],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            env={**variables, "PYTHON": str(python), **environment},
        )

    return run


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_scripts_parse_and_stop_at_the_first_error(path, shell):
    subprocess.run([shell, "-n", str(path)], check=True)
    assert "set -eu" in path.read_text() and os.access(path, os.X_OK)


@pytest.mark.parametrize("name", PROTOCOL_SCRIPTS)
def test_scripts_are_three_working_lines(name):
    lines = [line for line in (CHECKOUT / name).read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 4


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_arguments_and_folders_arrive_unchanged(call, tmp_path, shell):
    answer = call(shell, "scripts/dpspg/main.sh", "mini", "KEY", "two words", OUTPUT="results")
    place, *words = answer.stdout.splitlines()
    assert words == ["-m", "promptshift run", "multi_source", "DPSPG", "mini", "KEY", "two words"]
    assert place == f"{CHECKOUT}|{tmp_path}/results|"


def test_a_relative_interpreter_and_an_absolute_output_are_kept(call, tmp_path):
    answer = call("sh", "scripts/dpspg/main.sh", "mini", PYTHON="bin/python", OUTPUT="/somewhere")
    assert answer.stdout.startswith(f"{CHECKOUT}|/somewhere|"), answer.stderr


def test_each_script_names_its_protocol(call):
    expected = {
        "scripts/coop/main.sh": "coop_main mini",
        "scripts/dpspg/main.sh": "multi_source DPSPG mini",
        "scripts/zsclip/main.sh": "main ZeroshotCLIP mini",
        "scripts/cocoop/main.sh": "main CoCoOp mini",
        "scripts/promptsrc/main.sh": "main PromptSRC mini",
        "scripts/spg/single_source.sh": "single_source SPG mini",
        "scripts/dpl/cross_dataset.sh": "cross_dataset DPLCLIP mini",
    }
    for name, words in expected.items():
        assert call("sh", name, "mini").stdout.split()[1:] == ["-m", "promptshift", "run", *words.split()]
    assert call("sh", "scripts/zsclip/main.sh", "mini").stdout.splitlines()[0].endswith("|1")
    assert call("sh", "scripts/zsclip/main.sh", "mini", SEEDS="2 3").stdout.splitlines()[0].endswith("|2 3")


@pytest.mark.parametrize("name", [name for name in NAMES if "source.sh" in name or "cross_dataset" in name])
def test_the_paper_s_single_seed_settings_take_other_seeds_too(call, name):
    place, _, _, protocol, trainer, dataset = call("sh", name, "mini").stdout.splitlines()
    assert place.endswith("|1") and protocol == Path(name).stem and dataset == "mini"
    assert (CHECKOUT / "configs" / "trainers" / trainer).is_dir()
    assert call("sh", name, "mini", SEEDS="2 3").stdout.splitlines()[0].endswith("|2 3")


def test_zeroshot_takes_coops_two_arguments(call):
    words = call("sh", "scripts/zsclip/zeroshot.sh", "pacs", "rn50").stdout.split()[4:]
    assert words == ["zero_shot", "ZeroshotCLIP", "pacs", "--config", "CoOp/rn50"]
    answer = call("sh", "scripts/zsclip/zeroshot.sh", "pacs")
    assert answer.returncode == 2 and answer.stderr.startswith("error: ") and answer.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "status, stdout, stderr",
    [(0, "-m promptshift run multi_source DPSPG mini", ""), (1, "", "error: .*make install, or set PYTHON\n")],
)
def test_an_interpreter_without_torch_is_one_line(call, tmp_path, status, stdout, stderr):
    shutil.copytree(CHECKOUT / "scripts", tmp_path / "fresh" / "scripts")
    python = tmp_path / "bin" / "python"  # with or without torch: what a search for it answers
    python.write_text(f'#!/bin/sh\ncase $1 in -c) exit {status} ;; *) echo "$@" ;; esac\n')
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    answer = call("sh", str(tmp_path / "fresh" / "scripts" / "dpspg" / "main.sh"), "mini", PYTHON="", PATH=path)
    assert answer.returncode == (2 if status else 0) and answer.stdout.strip() == stdout
    assert re.fullmatch(stderr, answer.stderr)


def test_a_failing_run_makes_the_script_fail(call, tmp_path):
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\nexit 1\n")
    failing.chmod(0o755)
    assert call("sh", "scripts/dpspg/main.sh", "mini", PYTHON=str(failing)).returncode == 1


SRC, SRC_XD = "vit_b16_c2_ep20_batch4_4+4ctx", "vit_b16_c2_ep20_batch4_4+4ctx_cross_datasets"
STEPS = {
    "cocoop/base2new_train.sh dtd 1": "base_to_new CoCoOp dtd --seeds 1 --train-only --default-config "
    "vit_b16_c4_ep10_batch1_ctxv1",
    "cocoop/xd_train.sh 3": "xd CoCoOp imagenet --seeds 3 --train-only --default-config vit_b16_c4_ep10_batch1_ctxv1",
    "maple/base2new_test_maple.sh dtd 2 OPTIM.LR 1": "base_to_new MaPLe dtd OPTIM.LR 1 --seeds 2 --default-config "
    "vit_b16_c2_ep5_batch4_2ctx",
    "promptsrc/xd_test.sh eurosat 2": f"xd PromptSRC imagenet --targets eurosat --seeds 2 --default-config {SRC_XD}",
    "promptsrc/few_shot.sh dtd 4": f"few_shot PromptSRC dtd DATASET.NUM_SHOTS 4 --default-config "
    f"{SRC.replace('ep20', 'ep50')}_few_shot",
    "promptsrc/reproduce_base2novel_setting.sh dtd 1 /w": f"base_to_new PromptSRC dtd --seeds 1 --weights /w/base "
    f"--default-config {SRC}",
    "promptsrc/reproduce_few_shot.sh dtd 4 /w": f"few_shot PromptSRC dtd DATASET.NUM_SHOTS 4 --weights /w/4shot "
    f"--default-config {SRC.replace('ep20', 'ep50')}_few_shot",
    "coop/eval.sh dtd rn50": "xd CoOp imagenet --targets dtd --config rn50",
    "dpc/main.sh dtd": "main DPC dtd TRAINER.DPC.BACKBONE CoOp",
    "dpc/main.sh dtd MaPLe OPTIM.LR 1": "main DPC dtd TRAINER.DPC.BACKBONE MaPLe OPTIM.LR 1",
    "promptsync/main.sh mini 1": "main PromptSync mini",
    "promptsync/main.sh imagenet": "imagenet_variants PromptSync imagenet --default-config dg",
    "promptalign/main.sh caltech101 OPTIM.LR 1": "xd PromptAlign imagenet OPTIM.LR 1 --targets caltech101",
    "tpt/test_tpt.sh V": "imagenet_variants TPT imagenet --targets imagenetv2 --default-config default",
    "tpt/test_tpt_cocoop.sh Flower102": "xd TPT imagenet TRAINER.TPT.PROMPT CoCoOp TRAINER.TPT.START.CONFIG "
    "vit_b16_c4_ep10_batch1_ctxv1 --targets oxford_flowers",
    "promptalign/palign_dg.sh imagenet_a 2": "xd PromptAlign imagenet --targets imagenet_a --seeds 2 "
    "--default-config dg",
}


@pytest.mark.parametrize("line", STEPS)
def test_upstream_s_arguments_become_a_protocol_s(call, line):
    name, *words = line.split()
    answer = call("sh", f"scripts/{name}", *words)
    assert " ".join(answer.stdout.splitlines()[3:]) == STEPS[line], answer.stderr


def test_relative_weights_and_another_source_arrive(call, tmp_path):
    words = call("sh", "scripts/maple/reproduce_maple_xd.sh", "mini2", "1", "w", SOURCE="mini_b2n").stdout.splitlines()
    assert words[5] == "mini_b2n" and words[words.index("--weights") + 1] == f"{tmp_path}/w"


def test_promptalign_takes_released_weights_by_their_folder_s_name(call, tmp_path):
    words = call("sh", "scripts/promptalign/palign_finegrain.sh", "dtd", "2", "ori", "KEY", "1").stdout.splitlines()[3:]
    assert words == [
        "xd",
        "PromptAlign",
        "imagenet",
        "KEY",
        "1",
        "--targets",
        "dtd",
        "--seeds",
        "2",
        "--weights",
        f"{tmp_path}/weights/maple/ori",
        "--default-config",
        "default",
    ]
    words = call("sh", "scripts/promptalign/palign_dg.sh", "dtd", "2", "ori", WEIGHTS="/w").stdout.splitlines()
    assert words[words.index("--weights") + 1] == "/w/ori"


def test_several_test_sets_run_in_turn_with_one_seed(call):
    answer = call("sh", "scripts/tpt/test_tpt.sh", "A/K/DTD", "3").stdout
    assert [line for line in answer.splitlines() if line.startswith(("imagenet_", "dtd"))] == [
        "imagenet_variants",
        "imagenet_a",
        "imagenet_variants",
        "imagenet_sketch",
        "dtd",
    ]
    assert answer.count("|3\n") == 3
    assert call("sh", "scripts/tpt/test_tpt.sh", "I").stdout.splitlines()[0].endswith("|0")


@pytest.fixture
def plan(call, capsys, monkeypatch, tmp_path):
    """plan(script, *words) -> [(state, argv)] of the jobs that the script's own words for Python make in a dry run."""

    def planned(name, *words, **environment):
        answer = call("sh", name, *words, **environment)
        assert answer.returncode == 0, answer.stderr
        monkeypatch.chdir(CHECKOUT)
        for key, value in {"OUTPUT": str(tmp_path), "DATA": str(tmp_path), **environment}.items():
            monkeypatch.setenv(key, value)
        asked = answer.stdout.splitlines()[3:]
        assert main([*asked, "--dry-run"]) == 0, capsys.readouterr().err
        lines = capsys.readouterr().out.splitlines()
        return [(state.split(": ")[-1], shlex.split(command)[2:]) for state, command in zip(lines[::2], lines[1::2])]

    return planned


def test_promptkd_trains_on_unlabelled_images_of_another_dataset(plan, tmp_path):
    ((state, argv),) = plan("scripts/promptkd/xd_train.sh", "caltech101", "2", "OPTIM.LR", "0.1")
    cfg, args = build_cfg(argv)
    assert state == "not started" and not args.eval_only
    assert (cfg.TRAINER.PROMPTKD.MODAL, cfg.DATASET.NUM_SHOTS, cfg.SEED, cfg.OPTIM.LR) == ("cross", 0, 2, 0.1)
    folder = "caltech101/PromptKD/vit_b16_c2_ep20_batch8_4+4ctx_cross_datasets_0shots/seed2"  # as upstream's
    assert cfg.OUTPUT_DIR == str(tmp_path / folder) and cfg.TRAINER.PROMPTKD.PROMPT_DEPTH_VISION == 3


def test_testing_on_the_source_itself_waits_for_its_training(plan, tmp_path):
    train, test = plan("scripts/coop/eval.sh", "mini_b2n", "mini", SOURCE="mini_b2n", SEEDS="1")
    (trained, _), (tested, args) = build_cfg(train[1]), build_cfg(test[1])
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
    ],
)
def test_missing_arguments_are_one_line(call, line, named):
    name, *words = line.split()
    answer = call("sh", f"scripts/{name}", *words)
    assert answer.returncode == 2 and named in answer.stderr and answer.stderr.count("\n") == 1


@pytest.mark.parametrize("name", [name for name in NAMES if '/step.sh"' in (CHECKOUT / name).read_text()])
def test_the_configuration_that_a_script_names_is_shipped(call, name):
    words = call("sh", name, "dtd", "1", "w").stdout.splitlines()
    trainer, config = words[4], words[words.index("--default-config") + 1]
    assert (CHECKOUT / "configs" / "trainers" / trainer / f"{config}.yaml").is_file()
