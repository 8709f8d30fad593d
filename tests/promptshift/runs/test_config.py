"""Flags, precedence, hashes, and every shipped YAML."""

from pathlib import Path

import pytest
import yaml

from dassl.utils.errors import UserError
from promptshift.runs import stages
from promptshift.runs.config import build_cfg, config_hash

BASE = [
    "--trainer",
    "CoOp",
    "--dataset-config-file",
    "configs/datasets/pacs.yaml",
    "--config-file",
    "configs/trainers/CoOp/vit_b16_ep50.yaml",
]
CONFIGS = sorted(Path("configs/trainers").glob("*/*.yaml"))


def test_precedence_files_then_flags_then_options():
    cfg, _ = build_cfg(BASE)
    assert (cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.LR, cfg.DATASET.NAME) == (50, 0.002, "PACS")
    cfg, _ = build_cfg([*BASE, "--backbone", "RN50", "--lr", "0.1"])
    assert (cfg.MODEL.BACKBONE.NAME, cfg.OPTIM.LR) == ("RN50", 0.1)
    cfg, _ = build_cfg([*BASE, "--backbone", "RN50", "--lr", "0.1", "MODEL.BACKBONE.NAME", "RN101", "OPTIM.LR", "1e-3"])
    assert (cfg.MODEL.BACKBONE.NAME, cfg.OPTIM.LR) == ("RN101", 0.001)


def test_coop_s_flags_mean_what_they_mean_there():
    cfg, args = build_cfg(
        [
            *BASE,
            "--root",
            "/data",
            "--output-dir",
            "out",
            "--seed",
            "0",
            "--source-domains",
            "photo",
            "cartoon",
            "--target-domains",
            "sketch",
            "--transforms",
            "normalize",
            "--resume",
            "old",
            "--eval-only",
            "--model-dir",
            "m",
            "--load-epoch",
            "7",
            "--no-train",
        ]
    )
    assert (cfg.DATASET.ROOT, cfg.OUTPUT_DIR, cfg.SEED, cfg.RESUME) == ("/data", "out", 0, "old")
    assert list(cfg.DATASET.SOURCE_DOMAINS) == ["photo", "cartoon"] and list(cfg.INPUT.TRANSFORMS) == ["normalize"]
    assert args.eval_only and args.no_train and (args.model_dir, args.load_epoch) == ("m", 7)
    assert build_cfg(BASE)[0].SEED == -1


def test_options_right_behind_a_list_flag_are_options():
    cfg, _ = build_cfg([*BASE, "--target-domains", "sketch", "photo", "OPTIM.LR", "0.5", "SEED", "7"])
    assert list(cfg.DATASET.TARGET_DOMAINS) == ["sketch", "photo"] and (cfg.OPTIM.LR, cfg.SEED) == (0.5, 7)


def test_dpspg_s_flags_and_released_key_blocks(tmp_path):
    released = tmp_path / "pnspg_transformer.yaml"
    released.write_text("TRAINER:\n  SPG:\n    N_CTX: 8\n    PREC: fp32\nALPHA: 0.5\nLATE: 3\n")
    for name in ("DPSPG", "DPSPG_TRANSFORMER", "DPSPG_CoOp"):
        cfg, _ = build_cfg(
            [
                "--trainer",
                name,
                "--dataset-config-file",
                "configs/datasets/pacs.yaml",
                "--config-file",
                str(released),
                "--early_epoch",
                "5",
                "--backbone",
                "RN50",
            ]
        )
        o = cfg.TRAINER.DPSPG
        assert (o.N_CTX, o.PREC, o.ALPHA, o.LATE, o.EARLY) == (8, "fp32", 0.5, 3, 5)


def test_spg_s_flags_for_whole_datasets():
    flags = ["--source-datasets", "d", "--target-datasets", "p"]
    with pytest.raises(UserError, match="--target-datasets p: without --eval-only.*cross_dataset.sh"):
        build_cfg([*BASE, *flags])
    trained = build_cfg([*BASE, *flags[:2]])[0].DATASET
    assert trained.NAME == "DomainNet" and len(trained.SOURCE_DOMAINS) == len(trained.TARGET_DOMAINS) == 6
    tested = build_cfg([*BASE, *flags[2:], "--eval-only", "--model-dir", "m"])[0].DATASET
    assert tested.NAME == "PACS" and tested.TEST_ALL and len(tested.TARGET_DOMAINS) == 4
    of_scripts = build_cfg([*BASE, "--source-datasets", "v", "--eval-only", "--model-dir", "m"])[0].DATASET
    assert of_scripts.NAME == "VLCS" and of_scripts.TEST_ALL and len(of_scripts.TARGET_DOMAINS) == 4
    with pytest.raises(UserError, match="--source-datasets: invalid choice: 'x'"):
        build_cfg([*BASE, "--source-datasets", "x"])


def test_spg_s_words_behind_flags(capsys):
    """SPG's parser takes several codes and uses the first; its --save takes a word."""
    one, _ = build_cfg([*BASE, "--source-datasets", "o"])
    two, _ = build_cfg([*BASE, "--source-datasets", "o", "d", "OPTIM.MAX_EPOCH", "3"])
    assert (two.DATASET.NAME, two.OPTIM.MAX_EPOCH) == (one.DATASET.NAME, 3)
    assert "o is used" in capsys.readouterr().out
    plain, _ = build_cfg(BASE)
    for words in (["--save"], ["--save", "True"], ["--save", "False"], ["--save", "OPTIM.MAX_EPOCH", "3"]):
        cfg, _ = build_cfg([*BASE, *words])
        assert cfg.OPTIM.MAX_EPOCH == (3 if len(words) > 2 else plain.OPTIM.MAX_EPOCH)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_yaml_merges_with_its_trainer_s_keys(path):
    trainer = {"BASELINE": "CoOp"}.get(path.parent.name, path.parent.name)  # SPG's files for all its baselines
    cfg, _ = build_cfg(
        [
            "--trainer",
            trainer,
            "--config-file",
            str(path),
            "--dataset-config-file",
            "configs/datasets/pacs.yaml",
        ]
    )
    assert cfg.TRAINER.NAME == trainer


@pytest.mark.parametrize("path", sorted(Path("configs/datasets").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_dataset_yaml_names_a_registered_dataset(path):
    assert build_cfg(["--trainer", "CoOp", "--dataset-config-file", str(path), "--backbone", "RN50"])[0].DATASET.NAME


def test_the_hash_sees_numbers_not_places():
    base = config_hash(build_cfg(BASE)[0])
    for same in (
        ["OUTPUT_DIR", "x"],
        ["DATASET.ROOT", "y"],
        ["DATALOADER.NUM_WORKERS", "3"],
        ["TRAINER.DPSPG.ALPHA", "0.9"],
        ["TEST.FEATURE_CACHE", "False"],
        ["PROTOCOL", "multi_source"],
    ):
        assert config_hash(build_cfg([*BASE, *same])[0]) == base, same
    for other in (["OPTIM.LR", "0.1"], ["TRAINER.COOP.N_CTX", "8"], ["SEED", "2"], ["OPTIM.MAX_EPOCH", "51"]):
        assert config_hash(build_cfg([*BASE, *other])[0]) != base, other


STAGED = {  # a run and the YAMLs of what it learns from
    "PromptSync": (["--trainer", "PromptSync", "--dataset-config-file", "configs/datasets/mini.yaml"], ["MaPLe/mini"]),
    "DPC": (
        [
            "--trainer",
            "DPC",
            "--dataset-config-file",
            "configs/datasets/mini_b2n.yaml",
            "TRAINER.DPC.BACKBONE",
            "PromptKD",
        ],
        ["PromptKD/mini", "PromptSRC/mini_b2n"],
    ),
    "TPT by hand": (["--trainer", "TPT", "--dataset-config-file", "configs/datasets/mini.yaml"], []),
}


@pytest.mark.parametrize("case", STAGED)
def test_a_changed_yaml_of_a_stage_is_another_configuration(case, tmp_path, monkeypatch):
    argv, files = STAGED[case]
    hashes = [config_hash(build_cfg(argv)[0])]
    assert bool(build_cfg(argv)[0].STAGE) == bool(files)
    for seed_or_place in (["SEED", "3"], ["OUTPUT_DIR", "x"]):  # what does not make the stage another one
        assert build_cfg([*argv, *seed_or_place])[0].STAGE == build_cfg(argv)[0].STAGE
    tested = config_hash(build_cfg(["--eval-only", *argv])[0])
    original = stages.trainer_file
    for name in files:
        changed = tmp_path / f"{Path(name).name}.yaml"
        content = yaml.safe_load(Path(f"configs/trainers/{name}.yaml").read_text())
        content["OPTIM"]["LR"] = 0.123
        changed.write_text(yaml.safe_dump(content))
        monkeypatch.setattr(
            stages,
            "trainer_file",
            lambda trainer, *rest, name=name, changed=changed: (
                changed if trainer == name.split("/")[0] else original(trainer, *rest)
            ),
        )
        hashes.append(config_hash(build_cfg(argv)[0]))
    assert len(set(hashes)) == 1 + len(files)
    assert config_hash(build_cfg(["--eval-only", *argv])[0]) == tested  # whose weights are named and stay


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--trainer", "Coop"], ["Coop", "CoOp"]),
        ([*BASE, "DATASET.NAME", "PACCS"], ["PACCS", "PACS"]),
        ([*BASE, "MODEL.BACKBONE.NAME", "ViT-B16"], ["ViT-B16", "ViT-B/16", "MODEL.BACKBONE.NAME"]),
        ([*BASE, "TRAINER.COOP.NCTX", "4"], ["TRAINER.COOP.NCTX", "TRAINER.COOP.N_CTX"]),
        ([*BASE, "TRAINER.COOP.PREC", "fp8"], ["PREC", "fp8", "bf16"]),
        ([*BASE, "OPTIM.LR"], ["OPTIM.LR"]),
        ([*BASE, "--nonsense", "3"], ["--nonsense"]),
        ([*BASE, "TEST.FINAL_MODEL", "best"], ["TEST.FINAL_MODEL", "best_val"]),
        ([*BASE, "DATASET.SUBSAMPLE_CLASSES", "old"], ["SUBSAMPLE_CLASSES", "base"]),
        ([*BASE, "TRAINER.COOP.CSC", "True", "DATASET.SUBSAMPLE_CLASSES", "new"], ["TRAINER.COOP.CSC", "new", "False"]),
        (["--trainer", "CoOp"], ["DATASET.NAME"]),
        ([], ["--trainer"]),
        (["--trainer", "CoOp", "--config-file", "none.yaml"], ["none.yaml"]),
    ],
)
def test_bad_requests_are_one_line_that_names_the_way_out(argv, words):
    with pytest.raises(UserError) as error:
        build_cfg(argv)
    message = str(error.value)
    assert "\n" not in message and all(word in message for word in words), message
