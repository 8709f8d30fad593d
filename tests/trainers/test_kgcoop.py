"""KgCoOp: the distance to the hand-written prompt, in both readings, and what it does to what is learnt."""

import pytest
import torch

import helpers.goldens_recipe as recipe
from helpers.golden_trainers import batch, sgd, trainer_on_golden_clip
from promptshift.modeling.towers.text_tower import TextTower
from trainers.coop import CoOp
from trainers.kgcoop import KgCoOp

WORDS = "a photo of a"


def released(learner):
    """A checkpoint of the released trainer: tensors that nothing reads, and an optimizer that has them too."""
    torch.manual_seed(1)
    module = torch.nn.Module()
    module.ctx = torch.nn.Parameter(learner.ctx.detach() + 0.1)
    module.bias_vectors = torch.nn.Parameter(torch.randn(1, 128))
    module.token_prefix, module.token_suffix = torch.nn.Buffer(torch.ones(3, 1, 128)), torch.nn.Buffer(torch.ones(3))
    module.meta_net = torch.nn.Sequential()
    module.meta_net.linear1 = torch.nn.Linear(128, 128)
    optim = torch.optim.SGD(module.parameters(), lr=0.002, momentum=0.9)
    module.ctx.sum().backward()
    optim.step()
    return {"state_dict": module.state_dict(), "optimizer": optim.state_dict(), "epoch": 1, "val_result": None}


def test_a_released_checkpoint_loads_and_its_momentum_goes_on(run, tmp_path, build):
    learner = build("KgCoOp", "OPTIM.MAX_EPOCH", 2).prompt_learner
    checkpoint, folder = released(learner), tmp_path / "run" / "prompt_learner"
    assert len(checkpoint["optimizer"]["param_groups"][0]["params"]) == 4
    folder.mkdir(parents=True)
    torch.save(checkpoint, folder / "model.pth.tar-1")
    learner.load_state_dict(checkpoint["state_dict"])
    assert torch.equal(learner.ctx, checkpoint["state_dict"]["ctx"])
    with pytest.raises(RuntimeError, match="other_net.weight"):  # of no known release
        learner.load_state_dict(checkpoint["state_dict"] | {"other_net.weight": torch.ones(1)})
    resumed = build("KgCoOp", "OPTIM.MAX_EPOCH", 2)
    assert resumed.resume_model_if_exist(str(tmp_path / "run")) == 1
    (momentum,) = (state["momentum_buffer"] for state in resumed._optims["prompt_learner"].state.values())
    assert torch.equal(momentum, torch.ones_like(learner.ctx))
    assert [epoch["epoch"] for epoch in run("KgCoOp", "OPTIM.MAX_EPOCH", 2)["history"]] == [2]


def shifted(cls, **options):
    """A trainer whose context is not the words any more."""
    trainer = trainer_on_golden_clip(cls, CTX_INIT=WORDS, **options)
    ctx = trainer.prompt_learner.ctx
    ctx.data += 0.05 * torch.randn(ctx.shape, generator=torch.Generator().manual_seed(0))
    return trainer


def hand_features():
    return TextTower(recipe.clip()).encode_texts(
        [f"a photo of a {name.replace('_', ' ')}." for name in recipe.CLASSNAMES]
    )


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_the_loss_is_coop_s_plus_the_weighted_distance_to_the_hand_prompt(distance):
    trainer = shifted(KgCoOp, DISTANCE=distance, W=3.0)
    classes, hand = trainer.class_features(), hand_features()
    expected = {
        "euclidean": torch.cdist(classes, hand).diag().square().mean(),
        "cosine": 1 - torch.cosine_similarity(classes, hand).mean(),
    }[distance]
    parts = trainer.loss(batch())
    assert expected > 1e-3
    torch.testing.assert_close(parts["knowledge"], 3 * expected)
    torch.testing.assert_close(parts["loss"], shifted(CoOp).loss(batch())["loss"] + 3 * expected)


def test_the_released_distance_is_half_of_the_paper_s():
    paper, released = (
        shifted(KgCoOp, DISTANCE=distance, W=weight).loss(batch())["loss"]
        for distance, weight in (("euclidean", 4.0), ("cosine", 8.0))
    )
    torch.testing.assert_close(paper, released)


def test_at_the_words_themselves_nothing_pulls():
    trainer = trainer_on_golden_clip(KgCoOp, CTX_INIT=WORDS, W=1000.0)
    assert trainer.loss(batch())["knowledge"].item() < 1e-6


def test_a_larger_weight_keeps_class_features_nearer():
    distance = {}
    for weight in (0.0, 8.0):
        trainer = trainer_on_golden_clip(KgCoOp, CTX_INIT=WORDS, W=weight)
        optimizer = sgd(trainer.prompt_learner.parameters())
        for _ in range(30):
            optimizer.zero_grad()
            trainer.loss(batch())["loss"].backward()
            optimizer.step()
        distance[weight] = (trainer.class_features() - trainer.hand_features).norm(dim=-1).mean()
    assert distance[8.0] < 0.7 * distance[0.0]


def test_a_run_learns(run):
    record = run(
        "KgCoOp",
        "DATASET.SOURCE_DOMAINS",
        ["photo"],
        "DATASET.NUM_SHOTS",
        8,
        "OPTIM.WARMUP_EPOCH",
        0,
        "OPTIM.MAX_EPOCH",
        6,
    )
    losses = [epoch["loss"] for epoch in record["history"]]
    assert losses[-1] < losses[0] and record["history"][-1]["knowledge"] > 0


def test_the_released_names_of_its_keys_are_understood(build):
    options = build("KgCoOp", "TRAINER.COOP.W", 2.5, "TRAINER.COOP.CTX_INIT", "a picture of a").options
    assert options.W == 2.5 and options.CTX_INIT == "a picture of a"


def test_another_distance_is_refused(refused):
    line = refused("KgCoOp", "TRAINER.KGCOOP.DISTANCE", "cosin")
    assert "TRAINER.KGCOOP.DISTANCE" in line and "euclidean, cosine" in line and "did you mean" in line.lower()


def test_textures_have_the_released_hand_written_prompt(build):
    trainer = build("KgCoOp")
    hand = {}
    for dataset in ("DescribableTextures", "OxfordPets"):
        trainer.cfg.defrost()
        trainer.cfg.DATASET.NAME = dataset
        trainer.build_prompts(trainer.clip, ["banded", "blotchy"])
        hand[dataset] = trainer.hand_features
    tower = TextTower(trainer.clip, trainer.cfg.MODEL.TEXT_CHUNK)
    texts = ["a photo of a banded, a type of texture.", "a photo of a blotchy, a type of texture."]
    torch.testing.assert_close(hand["DescribableTextures"], tower.encode_texts(texts))
    assert not torch.equal(hand["DescribableTextures"], hand["OxfordPets"])
