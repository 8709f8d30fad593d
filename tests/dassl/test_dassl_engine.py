"""The training loop: log lines, hooks, selection, files, errors."""

import re
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dassl.engine import TRAINER_REGISTRY, SimpleNet, TrainerX, build_trainer
from dassl.utils import load_checkpoint
from dassl.utils.errors import UserError
from helpers import toy_world
from helpers.toy_world import build, toy_cfg

TRAIN_LINE = re.compile(
    r"epoch \[(\d+)/3\] batch \[(\d+)/4\] time \d+\.\d{3} \(\d+\.\d{3}\) data \d+\.\d{3} \(\d+\.\d{3}\) "
    r"loss \d+\.\d{4} \(\d+\.\d{4}\) acc \d+\.\d{4} \(\d+\.\d{4}\) lr (\d\.\d{4}e-\d\d) eta \d+:\d\d:\d\d"
)


def test_log_lines_are_those_that_parsers_look_for(toy, capsys):
    trainer = build(toy_cfg(toy, "OPTIM.MAX_EPOCH", 3, "TRAIN.PRINT_FREQ", 2))
    trainer.train()
    lines = capsys.readouterr().out.splitlines()
    shown = [TRAIN_LINE.fullmatch(line).groups() for line in lines if line.startswith("epoch [")]
    assert [(e, b) for e, b, _ in shown] == [(e, b) for e in "123" for b in "24"]
    assert [float(lr) for *_, lr in shown[::2]] == pytest.approx([1e-5, 5e-3, 3.75e-3], rel=1e-3)
    after = [float(lr) for *_, lr in shown[1::2]]  # of an epoch's last batch, printed when the schedule has stepped
    assert after == pytest.approx([5e-3, 3.75e-3, 1.25e-3], rel=1e-3)
    ending = lines[lines.index(f"Checkpoint saved to {toy}/out/net/model.pth.tar-3") :]
    r = trainer.last_results
    assert ending[1:-1] == [
        f"Checkpoint saved to {toy}/out/head/model.pth.tar-3",
        "Finish training",
        "Finished training",
        "Deploy the last-epoch model",
        "Evaluate on the *test* set",
        "=> result",
        "* total: 24",
        f"* correct: {r['correct']}",
        f"* accuracy: {r['accuracy']:.2f}%",
        f"* error: {r['error_rate']:.2f}%",
        f"* macro_f1: {r['macro_f1']:.2f}%",
    ]
    assert re.fullmatch(r"Elapsed: \d+:\d\d:\d\d", ending[-1])


def test_few_batches_are_all_printed(toy, capsys):
    build(toy_cfg(toy, "OPTIM.MAX_EPOCH", 1, "TRAIN.PRINT_FREQ", 10, "TEST.NO_TEST", True)).train()
    text = capsys.readouterr().out
    assert text.count("epoch [1/1] batch [") == 4
    assert "Evaluate" not in text and "Elapsed" in text


def test_checkpoints_have_upstreams_layout(toy):
    trainer = build(toy_cfg(toy, "TRAIN.CHECKPOINT_FREQ", 4))
    trainer.train()
    for name in ("net", "head"):
        folder = toy / "out" / name
        assert sorted(p.name for p in folder.iterdir()) == ["checkpoint", "model.pth.tar-4", "model.pth.tar-6"]
        assert (folder / "checkpoint").read_text() == "model.pth.tar-6\n"
        payload = torch.load(folder / "model.pth.tar-6", weights_only=True)
        assert set(payload) == {"state_dict", "epoch", "optimizer", "scheduler", "val_result", "trainer_state"}
        assert payload["epoch"] == 6 and payload["trainer_state"]["epoch"] == 6
    assert not list((toy / "out").rglob(".tmp*"))


def test_best_val_keeps_and_deploys_the_best_epoch(toy, capsys):
    cfg = toy_cfg(toy, "TEST.FINAL_MODEL", "best_val", "OPTIM.MAX_EPOCH", 4)
    trainer = build(cfg)
    accuracies = iter([40.0, 80.0, 60.0, 80.0])
    evaluate = trainer.evaluate_loader
    trainer.evaluate_loader = lambda loader: (
        {"accuracy": next(accuracies)} if loader is trainer.val_loader else evaluate(loader)
    )
    trainer.train()
    best = load_checkpoint(toy / "out" / "net" / "model-best.pth.tar")
    assert (best["epoch"], best["val_result"], trainer.best_result) == (2, 80.0, 80.0)
    assert all(torch.equal(v, best["state_dict"][k]) for k, v in trainer.net.state_dict().items())
    assert [record["val_accuracy"] for record in trainer.history] == [40.0, 80.0, 60.0, 80.0]
    assert "Deploy the model with the best val performance" in capsys.readouterr().out
    assert (toy / "out" / "net" / "checkpoint").read_text() == "model.pth.tar-4\n"  # not the best


def test_history_and_results_are_at_full_precision(toy):
    trainer = build(toy_cfg(toy, "OPTIM.MAX_EPOCH", 2))
    trainer.train()
    assert [set(record) for record in trainer.history] == [{"epoch", "lr", "loss", "acc"}] * 2
    assert [record["lr"] for record in trainer.history] == [1e-5, 0.005]
    assert trainer.last_results["accuracy"] == 100.0 * trainer.last_results["correct"] / 24
    assert trainer.test() == trainer.last_results["accuracy"]
    trainer.test("val")
    assert trainer.last_results["total"] == 6
    assert set(trainer.history[-1]) == {"epoch", "lr", "loss", "acc"}  # evaluations after training are not its


def test_tensorboard_gets_every_average(toy, monkeypatch):
    written = []

    class Writer:
        def __init__(self, log_dir):
            written.append(log_dir)

        def add_scalar(self, tag, value, step):
            written.append((tag, step))

        def close(self):
            written.append("closed")

    monkeypatch.undo()  # of the fixture
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    build(toy_cfg(toy, "OPTIM.MAX_EPOCH", 2, "TEST.FINAL_MODEL", "best_val")).train()
    assert written[0] == str(toy / "out" / "tensorboard") and written[-1] == "closed"
    expected = {"train/loss": range(8), "train/lr": range(8), "val/accuracy": (0, 1), "test/macro_f1": (1,)}
    for tag, steps in expected.items():
        assert [step for name, step in written[1:-1] if name == tag] == list(steps)


def test_seed_0_is_a_seed_and_seeds_differ(toy):
    def bias(seed):
        return build(toy_cfg(toy, "SEED", seed)).head.bias.tolist()

    assert bias(0) == bias(0) != bias(1)


def test_the_schedule_steps_once_an_epoch_when_a_sampler_changes_its_length(toy):
    cfg = toy_cfg(
        toy,
        "DATALOADER.TRAIN_X.SAMPLER",
        "RandomDomainSampler",
        "DATALOADER.TRAIN_X.N_DOMAIN",
        1,
        "DATALOADER.TRAIN_X.BATCH_SIZE",
        2,
        "OPTIM.MAX_EPOCH",
        6,
        "OPTIM.LR_SCHEDULER",
        "multi_step",
        "OPTIM.STEPSIZE",
        (3,),
        "TEST.NO_TEST",
        True,
    )
    trainer = build(cfg)
    lengths, seen = set(), trainer.before_epoch

    def count():
        lengths.add(trainer.num_batches)
        seen()

    trainer.before_epoch = count
    trainer.train()
    assert len(lengths) > 2  # 0 before the first epoch, then at least two different ones
    assert [record["lr"] for record in trainer.history] == [1e-5, 0.005, 0.005, 0.005, 0.0005, 0.0005]


def test_hooks_run_in_upstreams_order(toy):
    calls = []

    class Watched(toy_world.Linear):
        pass

    for hook in (
        "check_cfg",
        "build_data_loader",
        "build_model",
        "before_train",
        "before_epoch",
        "run_epoch",
        "after_epoch",
        "after_train",
        "test",
    ):

        def watched(self, *args, hook=hook, **kwargs):
            calls.append(hook)
            return getattr(super(Watched, self), hook)(*args, **kwargs)

        setattr(Watched, hook, watched)
    Watched(toy_cfg(toy, "OPTIM.MAX_EPOCH", 2)).train()
    epoch = ["before_epoch", "run_epoch", "after_epoch"]
    assert calls == [
        "check_cfg",
        "build_data_loader",
        "build_model",
        "before_train",
        *epoch,
        *epoch,
        "after_train",
        "test",
    ]


@pytest.mark.parametrize("count, expected", [("train_x", 4), ("train_u", 2), ("smaller_one", 2)])
def test_trainer_xu_pairs_batches(toy, count, expected):
    trainer = build(
        toy_cfg(toy, "TRAINER.NAME", "LinearXU", "TRAIN.COUNT_ITER", count, "OPTIM.MAX_EPOCH", 1, "TEST.NO_TEST", True)
    )
    trainer.train()
    assert trainer.pairs == [(4, 4, 4)] * expected


def test_model_names_modes_and_rates(toy):
    trainer = build(toy_cfg(toy))
    assert trainer.get_model_names() == ["net", "head"] and trainer.get_model_names("head") == ["head"]
    trainer.set_model_mode("eval", "head")
    assert (trainer.net.training, trainer.head.training) == (True, False)
    trainer.model_update()
    trainer.update_lr("net")
    assert (trainer.get_current_lr("net"), trainer.get_current_lr("head")) == (0.005, 1e-5)
    with pytest.raises(UserError, match="no model named 'tail' is registered .registered: net, head"):
        trainer.get_model_names(["tail"])
    with pytest.raises(UserError, match="'net' is already registered"):
        trainer.register_model("net", nn.Linear(1, 1))
    with pytest.raises(UserError, match="'wide' is wrapped in nn.DataParallel"):
        trainer.register_model("wide", nn.DataParallel(nn.Linear(1, 1)))


def test_a_loss_that_is_not_finite_stops_with_its_place(toy):
    trainer = build(toy_cfg(toy))
    trainer.epoch, trainer.batch_idx = 1, 2
    for kind in (UserError, FloatingPointError):
        with pytest.raises(kind, match="infinite or NaN at epoch 2, batch 3"):
            trainer.model_backward_and_update(torch.tensor(float("nan"), requires_grad=True))


@pytest.mark.parametrize(
    "opts, words",
    [
        (
            ("TEST.FINAL_MODEL", "best_val", "DATASET.NAME", "ToyWithoutVal"),
            "TEST.FINAL_MODEL best_val needs validation images, and DATASET ToyWithoutVal has none",
        ),
        (
            ("TEST.SPLIT", "val", "DATASET.NAME", "ToyWithoutVal", "OPTIM.MAX_EPOCH", 1),
            "TEST.SPLIT val: DATASET ToyWithoutVal has no val images",
        ),
        (("TEST.SPLIT", "dev", "OPTIM.MAX_EPOCH", 1), "TEST.SPLIT: 'dev'"),
        (("TEST.FINAL_MODEL", "best"), "TEST.FINAL_MODEL: 'best'; allowed: .*last_step, best_val"),
        (("TEST.EVALUATOR", "Classificaton"), "unknown EVALUATOR 'Classificaton'; did you mean 'Classification'"),
        (("TRAINER.NAME", "Liner"), "unknown TRAINER 'Liner'; did you mean 'Linear'"),
        (("TRAINER.NAME", ""), "TRAINER.NAME is empty"),
    ],
)
def test_bad_settings_are_named_on_one_line(toy, opts, words):
    with pytest.raises(UserError, match=words):
        build(toy_cfg(toy, *opts)).train()


def test_load_model_reads_an_epoch_and_names_what_is_missing(toy, capsys):
    cfg = toy_cfg(toy, "OPTIM.MAX_EPOCH", 2)
    trained = build(cfg)
    trained.train()
    fresh = build(toy_cfg(toy, "SEED", 9))
    fresh.load_model(str(toy / "out"), epoch=2)
    loaded = toy_world.weights(fresh)
    assert all(torch.equal(value, loaded[key]) for key, value in toy_world.weights(trained).items())
    with pytest.raises(UserError, match=r"net/model.pth.tar-5 \(numbered epochs there: 2\)"):
        fresh.load_model(str(toy / "out"), epoch=5)
    with pytest.raises(UserError, match="net/model-best.pth.tar"):
        fresh.load_model(str(toy / "out"))
    fresh.load_model("")
    assert "load_model() is skipped" in capsys.readouterr().out


def test_a_simple_trainer_builds_a_network_by_configuration(toy):
    class Plain(TrainerX):
        pass

    opts = (
        "MODEL.BACKBONE.NAME",
        "resnet18",
        "MODEL.BACKBONE.PRETRAINED",
        False,
        "MODEL.HEAD.NAME",
        "mlp",
        "MODEL.HEAD.HIDDEN_LAYERS",
        (7,),
        "INPUT.SIZE",
        (32, 32),
    )
    trainer = Plain(toy_cfg(toy, *opts))
    assert isinstance(trainer.model, SimpleNet) and trainer.model.fdim == 7
    scores, feature = trainer.model.eval()(torch.zeros(2, 3, 32, 32), return_feature=True)
    assert scores.shape == (2, 3) and feature.shape == (2, 7)
    with pytest.raises(UserError, match="unknown BACKBONE 'resnet19'; did you mean 'resnet18'"):
        Plain(toy_cfg(toy, "MODEL.BACKBONE.NAME", "resnet19"))


def test_build_trainer_announces_its_trainer(toy, capsys):
    build_trainer(toy_cfg(toy, "VERBOSE", True))
    text = capsys.readouterr().out
    assert "Loading trainer: Linear" in text and "Loading evaluator: Classification" in text
    assert "Linear" in TRAINER_REGISTRY.registered_names()
