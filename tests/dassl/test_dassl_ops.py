"""Operations and meters that trainer files of other bundled Dassl copies import."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dassl.modeling import build_network
from dassl.modeling.ops import EFDMix, MixStyle, ReverseGrad, cross_entropy, mixup, run_with_mixstyle
from dassl.modeling.ops.utils import create_onehot, ema_model_update, linear_rampup, sigmoid_rampup
from dassl.utils.errors import UserError
from dassl.utils.tpt_tools import AverageMeter, ProgressMeter, Summary, accuracy, load_model_weight


def statistics(x):
    return x.mean(dim=(2, 3)), x.var(dim=(2, 3))


@pytest.mark.parametrize("kind", [MixStyle, EFDMix])
def test_mixing_stays_between_the_statistics_of_the_two_images(kind):
    torch.manual_seed(0)
    images = torch.cat([torch.randn(1, 3, 8, 8), 5 + 3 * torch.randn(1, 3, 8, 8)]).requires_grad_()
    layer = kind(p=1.0, alpha=1.0, mix="crossdomain")
    mixed = layer(images)
    (mean,), (first, second) = statistics(mixed)[0][:1], statistics(images)[0]
    assert ((first < mean) & (mean < second)).all()
    mixed.sum().backward()
    assert torch.isfinite(images.grad).all()
    assert torch.equal(layer.eval()(images), images)


def test_mixing_is_switched_on_for_a_block_only():
    layer = MixStyle(p=1.0)
    layer.set_activation_status(False)
    model, images = nn.Sequential(layer), torch.randn(4, 3, 8, 8)
    with run_with_mixstyle(model, mix="crossdomain"):
        assert not torch.equal(model(images), images) and layer.mix == "crossdomain"
    assert torch.equal(model(images), images)


def test_small_operations():
    x = torch.ones(2, requires_grad=True)
    out = ReverseGrad()(x, 0.5)
    out.sum().backward()
    assert torch.equal(out, x) and x.grad.tolist() == [-0.5, -0.5]
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(cross_entropy(logits, labels), cross_entropy(logits, create_onehot(labels, 3)))
    images, hot = torch.zeros(4, 3, 2, 2), create_onehot(labels, 3)
    mixed, soft = mixup(images, images + 1, hot, hot.flip(0), beta=1.0, preserve_order=True)
    assert (mixed <= 0.5).all() and soft.sum(1).tolist() == pytest.approx([1.0] * 4)
    assert (sigmoid_rampup(0, 10), sigmoid_rampup(20, 10)) == (pytest.approx(0.006737946999085467), 1.0)
    assert linear_rampup(5, 10) == 0.5
    new, average = nn.Linear(1, 1), nn.Linear(1, 1)
    expected = 0.9 * average.weight.item() + 0.1 * new.weight.item()
    ema_model_update(new, average, 0.9)
    assert average.weight.item() == pytest.approx(expected)


def test_a_network_that_nobody_registered_is_one_line():
    with pytest.raises(UserError, match="unknown NETWORK 'fcn_3x64_gctx'"):
        build_network("fcn_3x64_gctx", verbose=False)


def test_meters_of_test_time_adaptation(capsys):
    logits = torch.tensor([[0.1, 0.9, 0.5], [0.9, 0.1, 0.5]])
    assert [hit.item() for hit in accuracy(logits, torch.tensor([1, 2]), topk=(1, 2, 5))] == [50.0, 100.0, 100.0]
    top1 = AverageMeter("Acc@1", ":6.2f", Summary.AVERAGE)
    top1.update(torch.tensor([50.0]), 2)
    top1.update(100.0, 2)
    progress = ProgressMeter(20, [top1, AverageMeter("Time", ":6.3f", Summary.NONE)], prefix="Test: ")
    progress.display(3)
    progress.display_summary()
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("Test: [ 3/20]\tAcc@1 100.00 ( 75.00)\t") and "Acc@1 75.000" in shown[1]


def test_a_prompt_of_another_data_set_loads_without_its_token_buffers(tmp_path):
    model, args = nn.Module(), SimpleNamespace()
    model.ctx, model.token_prefix = nn.Parameter(torch.zeros(2)), nn.Buffer(torch.zeros(3))
    torch.save({"state_dict": {"ctx": torch.ones(2), "token_prefix": torch.ones(7)}, "epoch": 5}, tmp_path / "w")
    load_model_weight(str(tmp_path / "w"), model, "cpu", args)
    assert model.ctx.tolist() == [1, 1] and model.token_prefix.tolist() == [0, 0, 0] and args.start_epoch == 5
