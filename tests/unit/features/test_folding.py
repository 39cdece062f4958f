"""BatchNorm folded into convolutions, beside threads that compute."""

from __future__ import annotations

import threading

import torch
import torchvision
from torch import nn

from slideloop.features.folding import fold


def trained() -> nn.Module:
    """ResNet-18 whose BatchNorms do something, in evaluation mode."""
    torch.manual_seed(0)
    net = torchvision.models.resnet18(weights=None)
    with torch.no_grad():
        for _ in range(3):
            net.train()(torch.randn(4, 3, 64, 64) * 2 + 1)
    return net.eval()


@torch.no_grad()
def test_a_folded_network_is_the_same_function_without_batch_norm() -> None:
    net = trained()
    folded = fold(net)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == 20
    pixels = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(folded(pixels), net(pixels), rtol=1e-3, atol=1e-3)


def test_folding_leaves_other_threads_alone() -> None:
    net, stop, failures = trained(), threading.Event(), list[BaseException]()
    pixels = torch.randn(1, 3, 32, 32)

    def compute() -> None:
        try:
            with torch.inference_mode():
                while not stop.is_set():
                    net(pixels)
        except BaseException as err:
            failures.append(err)

    thread = threading.Thread(target=compute)
    thread.start()
    other = trained()
    for _ in range(20):
        fold(other)
    stop.set()
    thread.join()
    assert failures == []
