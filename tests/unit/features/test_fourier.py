"""Convolutions by Fourier transforms, beside torch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.models import resnet18, squeezenet1_1
from torchvision.models.resnet import BasicBlock

from slideloop.features.folding import fold
from slideloop.features.fourier import PositionsFirst, _FourierConv2d, pays


def block(channels: int = 24, seed: int = 0) -> nn.Sequential:
    """A block as ResNet-18's last one, whose BatchNorm has seen something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(BasicBlock(channels, channels)).double().train()
        network(torch.randn(16, channels, 7, 7, dtype=torch.float64))
    return network


def maps(n: int, channels: int, side: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, side, side, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("side", [1, 2, 3, 7, 8, 13])
@pytest.mark.parametrize("is_fixed", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
def test_one_convolution_is_torchs(side: int, is_fixed: bool, has_bias: bool) -> None:
    conv = nn.Conv2d(3, 5, 3, padding=1, bias=has_bias).double()
    ours = PositionsFirst(nn.Sequential(conv), side, is_fixed=is_fixed)
    assert isinstance(ours.layers[0], _FourierConv2d)
    given = maps(4, 3, side)
    torch.testing.assert_close(ours(given), conv(given), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_order_in_memory_changes_nothing(memory: torch.memory_format) -> None:
    network = block().eval()
    given = maps(3, 24, 7)
    ours = PositionsFirst(network, 7, is_fixed=False)
    expected = network(given)
    torch.testing.assert_close(ours(given.contiguous(memory_format=memory)), expected)


def test_a_step_of_training_is_that_of_the_network_itself() -> None:
    network, given = block().train(), maps(9, 24, 7)
    other = copy.deepcopy(network)
    ours = PositionsFirst(network, 7, is_fixed=False).train()
    for model in (ours, other):
        model(given).square().mean().backward()
    for (name, one), two in zip(network.named_parameters(), other.parameters(), strict=True):
        assert one.grad is not None and two.grad is not None, name
        assert one.grad.abs().max() > 0, name
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-9, atol=1e-12)
    # What BatchNorm counts while it trains is counted in the network too.
    for (name, one), two in zip(network.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(one, two, msg=lambda m, n=name: f"{n}: {m}")


def test_parameters_are_shared_and_the_network_stays_what_it_is() -> None:
    network = block()
    ours = PositionsFirst(network, 7, is_fixed=False)
    assert {id(p) for p in ours.parameters()} == {id(p) for p in network.parameters()}
    assert not any(isinstance(m, _FourierConv2d) for m in network.modules())
    assert any(isinstance(m, _FourierConv2d) for m in ours.modules())


def test_batch_norm_may_be_folded_before() -> None:
    network, given = block().eval(), maps(5, 24, 7)
    ours = PositionsFirst(fold(network), 7, is_fixed=True).eval()
    torch.testing.assert_close(ours(given), network(given))


def test_in_float32_it_is_as_exact_as_torchs_own() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(resnet18().layer4[1]).eval()
    given = maps(2, 512, 7).abs()
    exact = copy.deepcopy(network).double()(given)
    ours = PositionsFirst(network, 7, is_fixed=True)(given.float())
    error = (ours - exact).abs().max() / exact.abs().max()
    its_error = (network(given.float()) - exact).abs().max() / exact.abs().max()
    assert error < max(4 * its_error, 2e-6)


def test_it_pays_for_the_papers_head_and_not_where_it_would_be_slower() -> None:
    net = resnet18()
    assert pays(nn.Sequential(net.layer4[1]), 7)
    assert not pays(nn.Sequential(nn.Conv2d(2, 2, 3, padding=1)), 7)
    # Not plain 3 x 3 convolutions: a stride, 1 x 1, a border of other values.
    assert not pays(nn.Sequential(*net.layer4), 14)
    assert not pays(squeezenet1_1().features[12], 13)
    assert not pays(nn.Sequential(nn.Conv2d(512, 512, 3, padding=1, padding_mode="reflect")), 7)
    assert not pays(nn.Sequential(nn.Conv2d(512, 512, 3)), 7)


def test_what_mixes_positions_otherwise_is_left_alone() -> None:
    conv = nn.Conv2d(512, 512, 3, padding=1)
    assert pays(nn.Sequential(conv, nn.ReLU()), 7)
    assert not pays(nn.Sequential(conv, nn.MaxPool2d(3, 1, 1)), 7)
    assert not pays(nn.Sequential(nn.ReLU()), 7)
