"""Convolutions over small maps by a Fourier transform: the same function in fewer steps.

A 3 x 3 convolution over maps of s x s pixels with a border of zeros is a circular one over
(s + 1) x (s + 1) pixels: one row and one column of zeros are the border on both sides. A discrete
transform makes products per frequency of it, of which those of mirrored frequencies are the same,
and a product of two complex numbers is three of real ones (Gauss). For maps of 7 x 7 that is 94
products per pair of channels instead of 441. All three steps are products of matrices: into the
frequencies, over the channels, and back. Rounding is that of float32, as these matrices are sines
and cosines (docs/adr/0008).

Owns those matrices, and which networks they are for. Knows nothing of training.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

KERNEL = 3
"""Side of the convolutions, in pixels."""

WORTH_IT = 2
"""A network is run so where that takes at least so many times fewer multiplications."""

_PER_POSITION = (nn.Sequential, BasicBlock, nn.BatchNorm2d, nn.ReLU, nn.Identity)
"""What treats all positions alike, in whatever order they lie."""


def pays(network: nn.Module, side: int) -> bool:
    """Say whether a network can be run by Fourier transforms, and takes far fewer steps then.

    Parameters
    ----------
    network : Module
    side : int
        Of its maps in pixels, the same from its beginning to its end.
    """
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    others = [m for m in network.modules() if not isinstance(m, nn.Conv2d)]
    if not all(isinstance(m, _PER_POSITION) for m in others):
        return False
    if not convolutions or not all(map(_is_plain, convolutions)):
        return False
    n_products = len(_exact(side)[0])
    n_direct = n_fourier = 0
    for conv in convolutions:
        pairs = conv.in_channels * conv.out_channels
        n_direct += (side * KERNEL) ** 2 * pairs
        both_ways = side**2 * (conv.in_channels + conv.out_channels)
        n_fourier += n_products * (pairs + both_ways)
    return n_direct >= WORTH_IT * n_fourier


def _is_plain(conv: nn.Conv2d) -> bool:
    return (
        (conv.kernel_size, conv.padding) == ((KERNEL, KERNEL), (1, 1))
        and (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)
        and conv.padding_mode == "zeros"
    )


class PositionsFirst(nn.Module):
    """A network that is run by Fourier transforms, in the place of the network itself.

    Inside, maps have the shape (side * side, channels, n, 1), channels last in memory: what a
    transform mixes lies together, and BatchNorm sees the same numbers as ever.

    Parameters
    ----------
    network : Module
        One for which it `pays`. It stays as it is; parameters and buffers are shared with it.
    side : int
        Of the maps, in pixels.
    is_fixed : bool
        The parameters do not change any more: their transforms are taken once, and no gradients
        are.
    """

    def __init__(self, network: nn.Module, side: int, *, is_fixed: bool) -> None:
        super().__init__()
        shared: dict[int, Any] = {id(t): t for t in (*network.parameters(), *network.buffers())}
        self.layers = copy.deepcopy(network, shared)
        room = _Room()
        for module in list(self.layers.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Conv2d):
                    setattr(module, name, _FourierConv2d(child, side, room, is_fixed=is_fixed))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (n, channels, side, side) to the same of the network's own channels."""
        n, channels, height, width = maps.shape
        rows = maps.permute(2, 3, 0, 1).reshape(height * width, n, 1, channels)
        out = self.layers(rows.permute(0, 3, 1, 2))
        return out.permute(2, 1, 0, 3).view(n, -1, height, width)


class _FourierConv2d(nn.Module):
    """A convolution over positions that come first, with the parameters of another one.

    Parameters
    ----------
    conv : Conv2d
    side : int
    room : _Room
        Shared by the convolutions of a network, for what none of them keeps.
    is_fixed : bool
    """

    def __init__(self, conv: nn.Conv2d, side: int, room: _Room, *, is_fixed: bool) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self._side, self._room, self._own = side, room, _Room()
        self._kernels: torch.Tensor | None = None
        if is_fixed:
            with torch.no_grad():
                self._kernels = _kernels(conv.weight, _matrices(side, conv.weight.dtype), self._own)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        matrices = _matrices(self._side, maps.dtype)
        rows = maps.permute(0, 2, 3, 1).squeeze(2)
        if self._kernels is None:
            out = cast(
                "torch.Tensor",
                _Convolution.apply(rows, self.weight, matrices, self._own, self._room),
            )
        else:
            with torch.no_grad():
                out, _ = _convolved(rows, self._kernels, matrices, self._room, self._room)
        out = out if self.bias is None else out + self.bias
        return out.unsqueeze(2).permute(0, 3, 1, 2)


class _Room:
    """Memory by name, used again by the next step: new memory is emptied by the system first."""

    def __init__(self) -> None:
        self._tensors: dict[str, torch.Tensor] = {}

    def tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor of this shape, with whatever is in it."""
        there = self._tensors.get(name)
        if there is None or (there.shape, there.dtype) != (shape, dtype):
            there = self._tensors[name] = torch.empty(shape, dtype=dtype)
        return there


@dataclass(frozen=True)
class _Matrices:
    """The three steps.

    Attributes
    ----------
    into : Tensor, shape (products, positions)
    of_kernel : Tensor, shape (products, 9)
    back : Tensor, shape (positions, products)
    """

    into: torch.Tensor
    of_kernel: torch.Tensor
    back: torch.Tensor


def _kernels(weight: torch.Tensor, matrices: _Matrices, own: _Room) -> torch.Tensor:
    """Return what channels are multiplied with, per product: (products, out, in)."""
    n_products, (n_out, n_in) = len(matrices.of_kernel), weight.shape[:2]
    kernels = own.tensor("kernels", (n_products, n_out * n_in), weight.dtype)
    torch.mm(matrices.of_kernel, weight.reshape(n_out * n_in, -1).T, out=kernels)
    return kernels.view(n_products, n_out, n_in)


def _convolved(
    rows: torch.Tensor, kernels: torch.Tensor, matrices: _Matrices, own: _Room, room: _Room
) -> tuple[torch.Tensor, torch.Tensor]:
    """Map (positions, n, in) to (positions, n, out), and return the coefficients, in `own`, too."""
    n_positions, n, n_in = rows.shape
    n_products, n_out, _ = kernels.shape
    coefficients = own.tensor("coefficients", (n_products, n, n_in), rows.dtype)
    torch.mm(matrices.into, rows.reshape(n_positions, -1), out=coefficients.view(n_products, -1))
    products = room.tensor("products", (n_products, n, n_out), rows.dtype)
    torch.bmm(coefficients, kernels.transpose(1, 2), out=products)
    out = (matrices.back @ products.view(n_products, -1)).view(n_positions, n, n_out)
    return out, coefficients


class _Convolution(torch.autograd.Function):
    """The convolution and its gradients, each of the same three steps.

    What a layer needs for its gradient lies in its own room, so each forward pass has one backward
    pass at most, before the next one.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        weight: torch.Tensor,
        matrices: _Matrices,
        own: _Room,
        room: _Room,
    ) -> torch.Tensor:
        kernels = _kernels(weight, matrices, own)
        out, coefficients = _convolved(rows, kernels, matrices, own, room)
        ctx.kept = kernels, coefficients
        ctx.matrices, ctx.room, ctx.weight_shape = matrices, room, weight.shape
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor | None, ...]:
        of_out: torch.Tensor = gradients[0]
        (kernels, coefficients), matrices = ctx.kept, ctx.matrices
        n_positions, n, n_out = of_out.shape
        n_products = len(kernels)
        of_products = ctx.room.tensor("products", (n_products, n, n_out), of_out.dtype)
        torch.mm(
            matrices.back.T, of_out.reshape(n_positions, -1), out=of_products.view(n_products, -1)
        )
        of_rows = None
        if ctx.needs_input_grad[0]:
            of_coefficients = ctx.room.tensor("coefficients", coefficients.shape, of_out.dtype)
            torch.bmm(of_products, kernels, out=of_coefficients)
            of_rows = matrices.into.T @ of_coefficients.view(n_products, -1)
            of_rows = of_rows.view(n_positions, n, -1)
        # The kernels have done their work, and their gradient takes their place.
        torch.bmm(of_products.transpose(1, 2), coefficients, out=kernels)
        of_weight = (kernels.view(n_products, -1).T @ matrices.of_kernel).view(ctx.weight_shape)
        return of_rows, of_weight, None, None, None


@cache
def _matrices(side: int, dtype: torch.dtype) -> _Matrices:
    with torch.inference_mode(False):  # made once, for trainings too
        return _Matrices(*(torch.from_numpy(matrix).to(dtype) for matrix in _exact(side)))


@cache
def _exact(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the three matrices in float64; the n-th products of all three belong together."""
    n = side + 1
    places = np.indices((side, side)).reshape(2, -1)
    kernel_places = np.indices((KERNEL, KERNEL)).reshape(2, -1) - 1
    into: list[np.ndarray] = []
    of_kernel: list[np.ndarray] = []
    back: list[np.ndarray] = []
    for frequency in np.ndindex(n, n):
        mirrored = tuple(-k % n for k in frequency)
        if frequency > mirrored:
            continue
        angle = 2 * np.pi / n * (frequency @ places)
        kernel_angle = 2 * np.pi / n * (frequency @ kernel_places)
        cos, sin = np.cos(angle), np.sin(angle)
        # A convolution of networks is a correlation, so the kernel's angle has the other sign.
        real, imaginary = np.cos(kernel_angle), np.sin(kernel_angle)
        if frequency == mirrored:  # real on both sides
            into.append(cos)
            of_kernel.append(real)
            back.append(cos)
        else:
            into += [cos - sin, cos, -sin]
            of_kernel += [real, imaginary - real, imaginary + real]
            back += [2 * (cos - sin), -2 * sin, -2 * cos]
    return np.array(into), np.array(of_kernel), np.array(back).T / n**2
