"""LDPF: who learns from which loss, that no domain label is used, every ablation, exact resume."""

import random
import shutil

import pytest
import torch
import torch.nn.functional as F

import dassl.data.data_manager as data_manager
from dassl.data.datasets import Datum
from helpers.golden_trainers import batch, trainer_on_golden_clip
from promptshift.modeling.latent_domains import reversal_ramp
from trainers.ldpf import LDPF

VIEWS = ("DATALOADER.TRAIN_X.FEATURE_VIEWS", 1)
SMALLER = (*VIEWS, "DATASET.NUM_SHOTS", 2)


def key(name):
    return f"TRAINER.LDPF.{name}"


def in_training(epoch=0, max_epoch=2, **options):
    """A trainer on the golden CLIP in the middle of an epoch, its four images in latent domains 0, 2, 1, 0."""
    torch.manual_seed(0)
    trainer = trainer_on_golden_clip(LDPF, **options)
    trainer.cfg.OPTIM = type(trainer.cfg)({"MAX_EPOCH": max_epoch})
    trainer.epoch, trainer.max_epoch, trainer.batch_idx, trainer.num_batches = epoch, max_epoch, 5, 10
    trainer.assignment = torch.tensor([0, 2, 1, 0])
    torch.nn.init.normal_(trainer.adversary.weight)
    return trainer, {**batch(), "index": torch.arange(4)}


def gradients(trainer, data):
    trainer.loss(data)["loss"].backward()
    return {
        "agnostic": trainer.prompts.ctx_agnostic.grad,
        "specific": trainer.prompts.ctx_specific.grad,
        "extractor": trainer.domains.extractor[0].weight.grad,
        "adversary": trainer.adversary.weight.grad,
    }


def test_contexts_start_as_the_paper_says():
    trainer, _ = in_training()
    prompts, words = trainer.prompts, trainer.prompts.template.words
    assert prompts.ctx_agnostic.shape == (4, 128) and torch.equal(prompts.ctx_agnostic, words[:4])
    assert prompts.ctx_specific.shape == (3, 8, 128) and 0.01 < prompts.ctx_specific.detach().std() < 0.03
    assert prompts.template.tokens[0].tolist()[1:5] == trainer.clip.tokenizer.encode("a photo of a")


def test_a_checkpoint_keeps_the_latent_domains_as_whole_numbers():
    trainer, _ = in_training()
    state = {"assignment": trainer.extra_state()["assignment"].to(torch.uint8)}
    other, _ = in_training()
    other.load_extra_state({"assignment": None})
    assert other.assignment is None
    other.load_extra_state(state)
    assert other.assignment.tolist() == [0, 2, 1, 0] and other.assignment.dtype == torch.int64


def test_each_image_is_scored_by_the_prompt_of_its_latent_domain():
    trainer, data = in_training()
    features, prompts = trainer.encode_images(data["img"]), trainer.prompts
    rows = []
    for i, own in enumerate(trainer.assignment.tolist()):
        context = torch.cat([prompts.ctx_agnostic, prompts.ctx_specific[own]])
        rows.append(trainer.clip.logit_scale * features[i] @ prompts.template.features(context).float().T)
    expected = F.cross_entropy(torch.stack(rows), data["label"])
    torch.testing.assert_close(trainer.loss(data)["loss_prompt"], expected)


def test_lambda_weighs_the_shared_prompt_and_the_adversary():
    one, ten = (gradients(*in_training(LAMBDA=weight)) for weight in (1.0, 10.0))
    torch.testing.assert_close(ten["specific"], one["specific"])
    for name in ("agnostic", "extractor", "adversary"):
        torch.testing.assert_close(ten[name], 10 * one[name], rtol=1e-4, atol=1e-6)


def test_the_extractor_climbs_what_the_adversary_descends():
    trainer, data = in_training(GRL_RAMP=False)
    reversed_ = gradients(trainer, data)
    plain, _ = in_training()
    z = plain.domains(plain.encode_images(data["img"]))
    F.cross_entropy(plain.adversary(z), data["label"]).backward()
    torch.testing.assert_close(reversed_["extractor"], -plain.domains.extractor[0].weight.grad)
    torch.testing.assert_close(reversed_["adversary"], plain.adversary.weight.grad)
    ramped = gradients(*in_training(epoch=1))  # three quarters of two epochs are done
    torch.testing.assert_close(ramped["extractor"], reversal_ramp(0.75) * reversed_["extractor"])
    still = gradients(*in_training(ADVERSARIAL=False))
    assert still["extractor"] is None and still["adversary"].abs().sum() > 0


def test_sequential_steps_take_turns():
    first, second = (gradients(*in_training(epoch, STEPS="sequential")) for epoch in (0, 1))
    assert first["agnostic"] is None and first["specific"] is not None and first["extractor"] is not None
    assert second["agnostic"] is not None and second["specific"] is None and second["extractor"] is None


def test_only_prompts_of_domains_in_the_batch_learn():
    trainer, data = in_training()
    trainer.assignment = torch.tensor([0, 2, 2, 0])
    moved = gradients(trainer, data)["specific"].abs().sum(dim=(1, 2))
    assert moved[0] > 0 and moved[1] == 0 and moved[2] > 0


@pytest.mark.parametrize("fusion", ["similarity", "uniform", "gate"])
def test_images_stand_alone(assert_images_stand_alone, fusion):
    trainer, _ = in_training(FUSION=fusion, TAU=0.01)
    trainer.domains.place(F.normalize(torch.randn(9, 256), dim=1), torch.arange(9) % 3, 3)
    assert_images_stand_alone(trainer)


def numbers(record):
    metrics = {name: record["metrics"][name] for name in ("accuracy", "correct", "total", "macro_f1")}
    return metrics, record["history"], record["diagnostics"]["fusion"]


def weights(tmp_path, folder, epoch=2):
    return {
        (name, part): value
        for name in ("prompt_learner", "domain_extractor", "class_adversary")
        for part, value in torch.load(tmp_path / folder / name / f"model.pth.tar-{epoch}", weights_only=True)[
            "state_dict"
        ].items()
    }


def assert_same_weights(tmp_path, first, second):
    a, b = weights(tmp_path, first), weights(tmp_path, second)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_domain_labels_change_nothing_but_the_report(run, tmp_path, monkeypatch):
    first = run("LDPF", *VIEWS, folder="first")
    build = data_manager.build_dataset

    def shuffled(cfg):
        dataset, labels = build(cfg), random.Random(0)
        for items in (dataset.train_x, dataset.val, dataset.test):
            items[:] = [Datum(item.impath, item.label, labels.randrange(4), item.classname) for item in items]
        return dataset

    monkeypatch.setattr(data_manager, "build_dataset", shuffled)
    second = run("LDPF", *VIEWS, folder="second")
    assert numbers(second) == numbers(first)
    assert_same_weights(tmp_path, "first", "second")
    tables = [record["diagnostics"]["latent_domains"]["table"] for record in (first, second)]
    assert tables[0] != tables[1]
    assert [sum(row) for row in tables[0]] == [sum(row) for row in tables[1]]  # the same clusters


def test_report_beside_the_result(run):
    record = run("LDPF", *VIEWS)
    domains, fusion = record["diagnostics"]["latent_domains"], record["diagnostics"]["fusion"]
    assert domains["n_s"] == 3 and domains["true_domains"] == ["art_painting", "cartoon", "photo"]
    images = sum(map(sum, domains["table"]))
    assert domains["purity"] == pytest.approx(sum(map(max, domains["table"])) / images)
    assert fusion["u_sel"] >= fusion["best_single_prompt"] == max(fusion["single_prompt"])
    assert fusion["u_sel"] >= record["metrics"]["accuracy"] - 100 / record["metrics"]["total"]


@pytest.mark.parametrize(
    "options",
    [
        ("FUSION", "uniform", "ADVERSARIAL", False),
        ("FUSION", "gate", "N_S", "auto"),
        ("DOMAINS", "manual"),
        ("STEPS", "sequential", "PREC", "amp"),
        ("CTX_INIT", "", "N_S", 1, "CENTERED", True),
    ],
    ids=lambda o: "-".join(map(str, o)),
)
def test_every_ablation_trains_and_is_evaluated_alone_with_the_same_numbers(run, options):
    pairs = [word for name, value in zip(options[::2], options[1::2]) for word in (key(name), value)]
    record = run("LDPF", *SMALLER, *pairs, folder="trained")
    alone = run("LDPF", *SMALLER, *pairs, folder="alone", model_dir="trained")
    assert alone["metrics"] == record["metrics"]
    assert alone["diagnostics"]["fusion"] == record["diagnostics"]["fusion"]
    table = record["diagnostics"]["latent_domains"]["table"]
    chosen = dict(zip(options[::2], options[1::2])).get("N_S", 3)
    assert len(table) in range(2, 7) if chosen == "auto" else len(table) == chosen


def test_a_model_of_base_classes_scores_new_ones(run):
    run("LDPF", *SMALLER, "DATASET.SUBSAMPLE_CLASSES", "base", folder="base")
    assert run("LDPF", "DATASET.SUBSAMPLE_CLASSES", "new", folder="new", model_dir="base")["metrics"]["total"] > 0


def test_one_epoch_and_one_more_are_two(run, tmp_path):
    options = (*SMALLER, "TEST.FINAL_MODEL", "last_step", "TRAIN.CHECKPOINT_FREQ", 1)
    whole = run("LDPF", *options, folder="whole")
    for name in ("prompt_learner", "domain_extractor", "class_adversary"):
        (tmp_path / "first" / name).mkdir(parents=True)
        shutil.copy(tmp_path / "whole" / name / "model.pth.tar-1", tmp_path / "first" / name)
    rest = run("LDPF", *options, "RESUME", tmp_path / "first", folder="rest")
    assert numbers(rest) == numbers(whole)
    assert rest["diagnostics"] == whole["diagnostics"]
    assert_same_weights(tmp_path, "whole", "rest")


def test_same_seed_same_numbers_whatever_batch_and_cache(run):
    first = run("LDPF", *SMALLER, folder="a")
    again = run("LDPF", *SMALLER, "DATALOADER.TEST.BATCH_SIZE", 7, "TEST.FEATURE_CACHE", False, folder="b")
    assert again["metrics"] == first["metrics"]
    assert [epoch["loss"] for epoch in again["history"]] == [epoch["loss"] for epoch in first["history"]]
    other = run("LDPF", *SMALLER, "SEED", 0, folder="c")
    assert [epoch["loss"] for epoch in other["history"]] != [epoch["loss"] for epoch in first["history"]]


@pytest.mark.parametrize(
    "options, words",
    [
        ((key("N_S"), 0), ("N_S", "'0'", "auto")),
        ((key("N_S"), "many"), ("N_S", "many")),
        ((key("N_S"), 100000), ("N_S", "100000", "training images")),
        ((key("FUSION"), "similar"), ("FUSION", "similar", "uniform", "gate")),
        ((key("TAU"), 0), ("TAU", "above 0")),
        ((key("N_CTX_SPECIFIC"), 0), ("N_CTX_SPECIFIC",)),
        ((key("N_CTX_AGNOSTIC"), 3), ("CTX_INIT", "a photo of a", "N_CTX_AGNOSTIC")),
        ((key("STEPS"), "sequential", key("SEQUENTIAL_EPOCHS"), 2), ("SEQUENTIAL_EPOCHS", "MAX_EPOCH")),
        (
            ("DATALOADER.TRAIN_X.SAMPLER", "RandomDomainSampler", "DATALOADER.TRAIN_X.N_DOMAIN", 2),
            ("SAMPLER", "domain"),
        ),
    ],
)
def test_bad_input_is_named(refused, options, words):
    line = refused("LDPF", *options)
    assert all(word in line for word in words), line
