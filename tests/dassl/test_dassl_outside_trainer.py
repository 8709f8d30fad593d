"""A trainer file in the manner of the public repositories runs unchanged.

Everything here uses only names, module paths and hooks of upstream Dassl.
"""

import importlib
import os.path as osp

import pytest
import torch
import torch.nn as nn
from torch.nn import functional as F

from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY, TrainerX, build_trainer
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import load_checkpoint, load_pretrained_weights, set_random_seed
from helpers import toy_world


class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, width):
        super().__init__()
        self.ctx = nn.Parameter(0.02 * torch.randn(cfg.TRAINER.OUTSIDE.N_CTX, width))
        self.register_buffer("token_prefix", torch.randn(len(classnames), 1, width))
        self.register_buffer("token_suffix", torch.randn(len(classnames), 2, width))

    def forward(self):
        ctx = self.ctx.unsqueeze(0).expand(len(self.token_prefix), -1, -1)
        return torch.cat([self.token_prefix, ctx, self.token_suffix], dim=1)


class CustomModel(nn.Module):
    def __init__(self, cfg, classnames):
        super().__init__()
        self.prompt_learner = PromptLearner(cfg, classnames, 8)
        self.image_encoder = nn.Linear(3 * 8 * 8, 8)
        self.text_encoder = nn.Linear(8, 8)

    def forward(self, image):
        image_features = F.normalize(self.image_encoder(image.flatten(1)), dim=-1)
        text_features = F.normalize(self.text_encoder(self.prompt_learner().mean(1)), dim=-1)
        return 10 * image_features @ text_features.t()


@TRAINER_REGISTRY.register()
class Outside(TrainerX):
    def check_cfg(self, cfg):
        assert cfg.TRAINER.OUTSIDE.PREC in ["fp16", "fp32", "amp"]

    def build_model(self):
        cfg = self.cfg
        classnames = self.dm.dataset.classnames
        print("Building custom model")
        self.model = CustomModel(cfg, classnames)
        for name, param in self.model.named_parameters():
            if "prompt_learner" not in name:
                param.requires_grad_(False)
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.model.prompt_learner, cfg.MODEL.INIT_WEIGHTS)
        self.model.to(self.device)
        self.optim = build_optimizer(self.model.prompt_learner, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model("prompt_learner", self.model.prompt_learner, self.optim, self.sched)
        self.scaler = None

    def forward_backward(self, batch):
        image, label = self.parse_batch_train(batch)
        output = self.model(image)
        loss = F.cross_entropy(output, label)
        self.model_backward_and_update(loss)
        loss_summary = {"loss": loss.item(), "acc": compute_accuracy(output, label)[0].item()}
        if (self.batch_idx + 1) == self.num_batches:
            self.update_lr()
        return loss_summary

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def load_model(self, directory, epoch=None):
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        names = self.get_model_names()
        model_file = "model-best.pth.tar"
        if epoch is not None:
            model_file = "model.pth.tar-" + str(epoch)
        for name in names:
            model_path = osp.join(directory, name, model_file)
            if not osp.exists(model_path):
                raise FileNotFoundError(f'Model not found at "{model_path}"')
            checkpoint = load_checkpoint(model_path)
            state_dict = checkpoint["state_dict"]
            epoch = checkpoint["epoch"]
            if "token_prefix" in state_dict:
                del state_dict["token_prefix"]
            if "token_suffix" in state_dict:
                del state_dict["token_suffix"]
            print(f'Loading weights to {name} from "{model_path}" (epoch = {epoch})')
            self._models[name].load_state_dict(state_dict, strict=False)


def outside_cfg(toy, *opts):
    cfg = get_cfg_default()
    cfg.TRAINER.OUTSIDE = type(cfg)()
    cfg.TRAINER.OUTSIDE.N_CTX = 4
    cfg.TRAINER.OUTSIDE.PREC = "fp32"
    base = toy_world.toy_cfg(toy)
    for key in ("INPUT", "DATASET", "DATALOADER", "OPTIM"):
        cfg[key] = base[key]
    cfg.merge_from_list(
        ["OUTPUT_DIR", base.OUTPUT_DIR, "TRAINER.NAME", "Outside", "USE_CUDA", False, "OPTIM.LR", 0.5, *opts]
    )
    cfg.freeze()
    return cfg


def test_it_trains_tests_and_loads(toy, capsys):
    set_random_seed(1)
    trainer = build_trainer(outside_cfg(toy, "TEST.FINAL_MODEL", "best_val"))
    frozen = trainer.model.image_encoder.weight.clone()
    trainer.train()
    assert trainer.history[-1]["loss"] < trainer.history[0]["loss"]
    assert torch.equal(trainer.model.image_encoder.weight, frozen)
    saved = load_checkpoint(osp.join(trainer.output_dir, "prompt_learner", "model.pth.tar-6"))
    assert set(saved["state_dict"]) == {"ctx", "token_prefix", "token_suffix"}
    set_random_seed(1)
    other = build_trainer(outside_cfg(toy))
    capsys.readouterr()
    other.load_model(trainer.output_dir, epoch=6)
    assert "(epoch = 6)" in capsys.readouterr().out
    trainer.load_model(trainer.output_dir, epoch=6)
    assert other.test() == trainer.test()


@pytest.mark.parametrize(
    "module, names",
    [
        ("dassl.config", "get_cfg_default clean_cfg"),
        ("dassl.data", "DataManager DatasetWrapper"),
        ("dassl.data.data_manager", "DatasetWrapper build_data_loader"),
        ("dassl.data.datasets", "DATASET_REGISTRY DatasetBase Datum build_dataset"),
        ("dassl.data.datasets.base_dataset", "DatasetBase Datum"),
        ("dassl.data.samplers", "build_sampler RandomDomainSampler SeqDomainSampler RandomClassSampler RandomSampler"),
        ("dassl.data.transforms", "build_transform INTERPOLATION_MODES"),
        ("dassl.data.transforms.transforms", "build_transform INTERPOLATION_MODES AVAI_CHOICES"),
        ("dassl.engine", "TRAINER_REGISTRY TrainerX TrainerXU TrainerBase SimpleTrainer SimpleNet build_trainer"),
        ("dassl.engine.trainer", "SimpleNet TrainerX TrainerXU MetricMeter AverageMeter SummaryWriter"),
        ("dassl.evaluation", "EVALUATOR_REGISTRY EvaluatorBase Classification build_evaluator"),
        ("dassl.evaluation.evaluator", "EvaluatorBase Classification"),
        ("dassl.metrics", "compute_accuracy compute_distance_matrix"),
        ("dassl.modeling", "BACKBONE_REGISTRY HEAD_REGISTRY build_backbone build_head build_network"),
        ("dassl.modeling.ops", "MixStyle EFDMix ReverseGrad mixup cross_entropy run_with_mixstyle run_without_efdmix"),
        (
            "dassl.modeling.ops.utils",
            "sharpen_prob reverse_index shuffle_index create_onehot sigmoid_rampup linear_rampup ema_model_update",
        ),
        ("dassl.optim.radam", "RAdam AdamW"),
        ("dassl.utils.torchtools", "partial"),
        ("dassl.utils.tpt_tools", "AverageMeter ProgressMeter Summary accuracy load_model_weight set_random_seed"),
        ("dassl.optim", "build_optimizer build_lr_scheduler"),
        ("dassl.optim.lr_scheduler", "ConstantWarmupScheduler LinearWarmupScheduler"),
        (
            "dassl.utils",
            "AverageMeter Logger MetricMeter Registry check_availability check_isfile collect_env_info "
            "count_num_param get_most_similar_str_to_a_from_b init_network_weights listdir_nohidden "
            "load_checkpoint load_pretrained_weights mkdir_if_missing open_all_layers open_specified_layers "
            "read_image read_json resume_from_checkpoint save_checkpoint set_random_seed setup_logger "
            "tolist_if_not write_json",
        ),
    ],
)
def test_upstreams_names_are_where_upstream_has_them(module, names):
    missing = [name for name in names.split() if not hasattr(importlib.import_module(module), name)]
    assert not missing


class OwnTest(Outside):
    """Overrides test() as PromptKD does: its own loop, the evaluator, the number returned."""

    def test(self, split=None):
        self.set_model_mode("eval")
        self.evaluator.reset()
        for batch in self.val_loader if split == "val" else self.test_loader:
            image, label = self.parse_batch_test(batch)
            self.evaluator.process(self.model(image), label)
        return list(self.evaluator.evaluate().values())[0]


class OwnNumber(Outside):
    """Overrides test() as test-time methods do: it counts by itself and asks no evaluator."""

    returned = 62.5

    def test(self, split=None):
        return self.returned


def test_a_trainer_with_a_test_of_its_own_leaves_its_results_behind(toy):
    set_random_seed(1)
    plain = build_trainer(outside_cfg(toy))
    set_random_seed(1)
    own = OwnTest(outside_cfg(toy, "TEST.FINAL_MODEL", "best_val"))
    with torch.no_grad():
        assert own.test() == plain.test() == own.last_results["accuracy"]
    assert own.last_results == plain.last_results and own.last_results["total"] == 24
    own.train()
    assert all(0 <= record["val_accuracy"] <= 100 for record in own.history) and own.last_results["total"] == 24


def test_the_number_that_a_test_returns_is_the_accuracy(toy):
    trainer = OwnNumber(outside_cfg(toy))
    for trainer.returned in (62.5, torch.tensor(62.5), [torch.tensor([62.5]), 90.0]):
        assert trainer.test("test") is trainer.returned
        assert trainer.last_results == {"accuracy": 62.5}
    trainer.returned = None
    trainer.test()
    assert trainer.last_results == {}  # no number is made up


def test_the_name_given_to_build_trainer_comes_first(toy):
    cfg = outside_cfg(toy, "TRAINER.NAME", "Other")
    assert type(build_trainer(cfg, name="Outside")).__name__ == "Outside"
