"""Runs of SPG and DPSPG on the mini world: labels, settings for the papers' ablations, diagnostics, exact resume."""

import math

import pytest
import torch

from dassl.engine import build_trainer
from helpers.mini_runs import arguments
from promptshift.runs.config import build_cfg
from promptshift.runs.run import main

LABELS = "output/prompt_labels/MiniDG/mini/SPGLabels/seed_1"
ONE_EPOCH = ("OPTIM.MAX_EPOCH", 1)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("output")


@pytest.fixture
def kept_labels(monkeypatch, kept):
    """Stage one and stored features outlast the test: the next one that asks for them finds them."""
    monkeypatch.setenv("OUTPUT", str(kept))


def scores(record):
    return record["metrics"], record["history"], record["diagnostics"]


def test_labels_are_made_once_and_never_of_the_target(train, tmp_path):
    first = train("SPG", *ONE_EPOCH, folder="a")
    labels = tmp_path / LABELS
    assert sorted(p.name.split("-")[0] for p in labels.iterdir()) == ["art_painting", "cartoon", "photo"]
    made = {p: p.stat().st_mtime_ns for p in labels.rglob("model-best.pth.tar")}
    assert scores(train("SPG", *ONE_EPOCH, folder="b")) == scores(first)  # found labels lead to the same numbers
    train("SPG", *ONE_EPOCH, "TRAINER.SPG.NOISE", "zero", "TRAINER.SPG.PROMPT", "mix_domain", folder="c")
    assert {p: p.stat().st_mtime_ns for p in labels.rglob("model-best.pth.tar")} == made
    train("SPG", *ONE_EPOCH, "TRAINER.SPG.CTX_INIT", "", folder="d")
    assert len(list(labels.iterdir())) == 6
    pooled = train("SPG", "TRAINER.SPG.PROMPT", "all_domain", folder="e")
    assert len(list(labels.glob("art_painting+cartoon+photo-*"))) == 1 and pooled["history"] == []


def test_the_mix_domain_prompt_is_the_mean_of_the_labels(train, tmp_path):
    train("SPG", "TRAINER.SPG.PROMPT", "mix_domain")
    labels = [
        torch.load(p, weights_only=True)["state_dict"]["ctx"]
        for p in (tmp_path / LABELS).glob("*/prompt_learner/model-best.pth.tar")
    ]
    saved = torch.load(tmp_path / "run/prompt_learner/model-best.pth.tar", weights_only=True)["state_dict"]
    torch.testing.assert_close(saved["ctx"], torch.stack(labels).mean(dim=0))


@pytest.mark.usefixtures("kept_labels")
@pytest.mark.parametrize(
    "trainer, options, saved",
    [
        ("SPG", {"N_CTX": 2, "CTX_INIT": ""}, ["generator", "discriminator"]),
        ("SPG", {"GENERATOR": "mlp", "TRAIN_SHARE": 0.5}, ["generator"]),
        ("SPG", {"NOISE": "mean", "NOISE_SAMPLES": 2, "GRAD_CLIP": False}, ["generator", "discriminator"]),
        ("DPSPG", {"GENERATOR": "mlp"}, ["posencoder", "negencoder"]),
        ("DPSPG", {"GENERATOR": "cgan"}, ["posencoder", "negencoder", "posdiscriminator", "negdiscriminator"]),
        ("DPSPG", {"ALPHA": 0.0}, ["posencoder", "negencoder"]),
    ],
)
def test_settings_of_the_ablation_tables_run(train, tmp_path, capsys, trainer, options, saved):
    words = [word for key, value in options.items() for word in (f"TRAINER.{trainer}.{key}", value)]
    record = train(trainer, *ONE_EPOCH, *words)
    assert math.isfinite(record["history"][0]["loss"]) and record["metrics"]["accuracy"] > 20
    assert all((tmp_path / "run" / name / "model-best.pth.tar").is_file() for name in saved)
    adversarial = any("discriminator" in name for name in saved)
    assert any(key.endswith("d_loss") for key in record["history"][0]) is adversarial
    found = record["diagnostics"]
    assert found["val_accuracy_std_last_10"] is None  # one epoch has no spread
    ratios = [value for key, value in found.items() if key.endswith("intra_inter_ratio")]
    assert len(ratios) == (2 if trainer == "DPSPG" else 1) and all(value > 0 for value in ratios)
    assert ("negative_margin_mean" in found) is (trainer == "DPSPG" and options.get("ALPHA") != 0.0)
    if "TRAIN_SHARE" in options:
        assert "Stage two trains on 240 of 480 images" in capsys.readouterr().out


@pytest.mark.usefixtures("kept_labels")
def test_diagnostics_and_evaluation_draw_no_random_number(mini_root, tmp_path):
    for trainer in ("SPG", "DPSPG"):
        cfg, _ = build_cfg(arguments(mini_root, tmp_path / trainer, trainer, "TEST.FEATURE_CACHE", False))
        built = build_trainer(cfg)
        state = torch.get_rng_state()
        built.test()
        assert torch.equal(torch.get_rng_state(), state) and built.diagnostics


@pytest.mark.usefixtures("kept_labels")
def test_spg_says_where_the_best_epoch_was_and_evaluates_alone(train, capsys, tmp_path, mini_root):
    record = train("SPG", folder="run")
    best = max(record["history"], key=lambda epoch: epoch["val_accuracy"])
    line = f"******* Domain s best val acc: {best['val_accuracy']:.2f}%, epoch: {best['epoch']} *******"
    assert line in capsys.readouterr().out
    argv = arguments(mini_root, tmp_path / "eval", "SPG")
    at = argv.index("OPTIM.MAX_EPOCH")
    argv[at:at] = ["--eval-only", "--model-dir", str(tmp_path / "run")]
    assert main(argv) == 0
    assert f"accuracy: {record['metrics']['accuracy']:.2f}%" in capsys.readouterr().out


@pytest.mark.usefixtures("kept_labels")
@pytest.mark.parametrize("trainer, options", [("SPG", ()), ("DPSPG", ("TRAINER.DPSPG.GENERATOR", "cgan"))])
def test_one_epoch_and_one_more_are_two(train, monkeypatch, tmp_path, mini_root, trainer, options):
    whole = train(trainer, *options, folder="whole")
    cls = type(build_trainer(build_cfg(arguments(mini_root, tmp_path / "x", trainer))[0]))
    finish = cls.finish_epoch

    def stop(self):
        finish(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cls, "finish_epoch", stop)
        main(arguments(mini_root, tmp_path / "cut", trainer, *options))
    rest = train(trainer, *options, folder="cut")
    assert scores(rest) == scores(whole)
    for name in (p.name for p in (tmp_path / "whole").iterdir() if (p / "model.pth.tar-2").is_file()):
        a, b = (
            torch.load(tmp_path / folder / name / "model.pth.tar-2", weights_only=True)["state_dict"]
            for folder in ("whole", "cut")
        )
        assert all(torch.equal(a[key], b[key]) for key in a), name


@pytest.mark.usefixtures("kept_labels")
def test_two_batches_of_fresh_augmentation_do_not_depend_on_workers(train):
    options = (*ONE_EPOCH, "DATALOADER.TRAIN_X.FEATURE_VIEWS", 0, "TRAINER.SPG.TRAIN_SHARE", 0.3)
    runs = [train("SPG", *options, "DATALOADER.NUM_WORKERS", n, folder=f"w{n}") for n in (0, 2)]
    assert runs[0]["history"] == runs[1]["history"]


def test_the_second_batch_is_another_draw_and_the_epoch_as_long_as_the_loader(mini_root, tmp_path):
    built = build_trainer(build_cfg(arguments(mini_root, tmp_path / "run", "SPG"))[0])
    pairs = [(batch["index"].tolist(), batch["fake"]["index"].tolist()) for batch in built._with_fakes()]
    assert len(pairs) == len(built.train_loader_x)
    real, fake = (sum(side, []) for side in zip(*pairs))
    assert real != fake and len(set(real)) == len(real) and len(set(fake)) == len(fake)


@pytest.mark.parametrize(
    "trainer, options, words",
    [
        ("SPG", ("TRAINER.SPG.GENERATOR", "cgen"), ["GENERATOR", "cgen", "cgan", "mlp"]),
        ("SPG", ("TRAINER.SPG.NOISE", "none"), ["NOISE", "none", "sample", "zero", "mean"]),
        ("SPG", ("TRAINER.SPG.PROMPT", "mix"), ["PROMPT", "mix_domain"]),
        ("SPG", ("TRAINER.SPG.TRAIN_SHARE", 20.0), ["TRAIN_SHARE", "20"]),
        ("SPG", ("TRAINER.SPG.N_CTX", 8), ["CTX_INIT", "a photo of a", "8"]),
        ("SPG", ("DATALOADER.TRAIN_X.BATCH_SIZE", 1), ["BATCH_SIZE", "1"]),
        ("DPSPG", ("TRAINER.DPSPG.CSC", True), ["CSC", "False"]),
        ("DPSPG", ("TRAINER.DPSPG.N_CTX", 5), ["POS_CTX_INIT", "5"]),
    ],
)
def test_bad_settings_are_one_line(mini_root, tmp_path, capsys, trainer, options, words):
    assert main(arguments(mini_root, tmp_path / "run", trainer, *options)) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith("error: ") and "\n" not in line and all(word in line for word in words), line


@pytest.mark.usefixtures("kept_labels")
def test_a_loss_that_is_not_finite_is_named(mini_root, tmp_path, capsys):
    assert main(arguments(mini_root, tmp_path / "run", "SPG", "OPTIM.LR", 1e30, "OPTIM.WARMUP_EPOCH", 0)) == 2
    assert "generator" in (line := capsys.readouterr().err) or "discriminator" in line
    assert "OPTIM.LR" in line


def test_spg_s_flags_and_released_keys(tmp_path):
    released = tmp_path / "spg.yaml"
    released.write_text("LATENT_DIM: 64\nGRAD_CLIP: False\nD_MAX_NORM_LAST: 2\nTRAINER:\n  SPG:\n    PREC: fp32\n")
    for name in ("SPG", "SPG_CGAN", "SPG_CoOp"):
        cfg, _ = build_cfg(
            [
                "--trainer",
                name,
                "--dataset-config-file",
                "configs/datasets/pacs.yaml",
                "--config-file",
                str(released),
                "--backbone",
                "RN50",
                "--g_max_norm_bias_last",
                "3",
                "--d_max_norm_weight",
                "0.25",
                "--latent_dim",
                "32",
            ]
        )
        o = cfg.TRAINER.SPG
        assert (o.LATENT_DIM, o.GRAD_CLIP, o.D_MAX_NORM_LAST, o.PREC) == (32, False, 2.0, "fp32")
        assert (o.G_MAX_NORM_BIAS_LAST, o.D_MAX_NORM_WEIGHT) == (3.0, 0.25)


def test_settings_of_the_paper_stand_in_the_files():
    def read(name):
        return build_cfg(
            [
                "--trainer",
                "SPG",
                "--dataset-config-file",
                "configs/datasets/pacs.yaml",
                "--config-file",
                f"configs/trainers/SPG/{name}.yaml",
            ]
        )[0]

    assert [read(n).OPTIM.LR for n in ("pacs", "default", "office_home", "domainnet")] == [2e-3, 2e-3, 2e-4, 2e-4]
    pacs, default = read("pacs").TRAINER.SPG, read("default").TRAINER.SPG
    assert (pacs.D_MAX_NORM_WEIGHT, pacs.G_MAX_NORM_WEIGHT, pacs.G_MAX_NORM_BIAS, pacs.G_MAX_NORM_BIAS_LAST) == (
        0.5,
        0.05,
        5e-7,
        5.0,
    )
    assert (
        default.D_MAX_NORM_WEIGHT,
        default.G_MAX_NORM_WEIGHT,
        default.G_MAX_NORM_BIAS,
        default.G_MAX_NORM_BIAS_LAST,
    ) == (0.05, 0.005, 5e-8, 1.0)
    assert pacs.NO_CLIP_TARGETS == ["cartoon", "photo"] and default.NO_CLIP_TARGETS == []
