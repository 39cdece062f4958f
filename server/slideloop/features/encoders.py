"""Encoders: a network cut into a frozen backbone and a trainable head.

Owns the cut, the resize to the network's input and the fixed batch shape. Knows nothing of slides,
stores or labels.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn

from slideloop.errors import InvalidInputError, StoreMismatchError, WeightsError
from slideloop.features.folding import fold
from slideloop.features.fourier import pays
from slideloop.features.precision import DTYPES, FOURIER, choose_precision, half_of
from slideloop.features.quantised import makers, quantised
from slideloop.features.resident import ResidentRows
from slideloop.features.weights import RANDOM_SEED, Weights, load_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from slideloop.features.normalisation import Normalisation
    from slideloop.features.precision import HeadPrecision, Precision

INPUT_PX = 224
"""Side of the network's input in pixels (paper, section 3)."""

BATCHES = {"cpu": 8, "cuda": 256, "mps": 64}
"""Patches per backbone call by device: on a processor as many as its caches hold."""

READERS = {"cpu": 1, "cuda": 8, "mps": 4}
"""Threads that read patches, by device: above a processor's network one keeps up."""

PRECISIONS = ("auto", "fp32", "bf16", "int8")

N_POOLING = 2
"""Layers at the end of a head that make a vector of its maps."""


@dataclass(frozen=True)
class Architecture:
    """How a torchvision network is cut.

    Attributes
    ----------
    name : str
        Value of `--encoder`.
    network : str
        Torchvision's name of the network.
    feature_shape : tuple of int
        Channels, height, width of what the backbone gives for a 224 px patch.
    embedding_dim : int
        Length of what the head gives.
    cut : callable
        From the whole network to (backbone, head); the head ends in global average pooling.
    unused : tuple of str
        Prefixes of state dict entries that the cut drops (the ImageNet classifier).
    """

    name: str
    network: str
    feature_shape: tuple[int, int, int]
    embedding_dim: int
    cut: Callable[[Any], tuple[nn.Module, nn.Module]]
    unused: tuple[str, ...]


def _pooled(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _resnet_stem(net: Any) -> list[nn.Module]:
    return [net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3]


def _cut_resnet18(net: Any) -> tuple[nn.Module, nn.Module]:
    return nn.Sequential(*_resnet_stem(net), net.layer4[0]), _pooled(net.layer4[1])


def _cut_resnet18_early(net: Any) -> tuple[nn.Module, nn.Module]:
    return nn.Sequential(*_resnet_stem(net)), _pooled(*net.layer4)


def _cut_squeezenet(net: Any) -> tuple[nn.Module, nn.Module]:
    return net.features[:12], _pooled(net.features[12])


ENCODERS: dict[str, Architecture] = {
    a.name: a
    for a in (
        # The paper's: ResNet-18, the head is layer4.1 and global average pooling.
        Architecture("resnet18", "resnet18", (512, 7, 7), 512, _cut_resnet18, ("fc.",)),
        # The paper's ablation (Fig. 6): the head is all of layer4.
        Architecture(
            "resnet18-layer4.0", "resnet18", (256, 14, 14), 512, _cut_resnet18_early, ("fc.",)
        ),
        Architecture(
            "squeezenet1_1", "squeezenet1_1", (512, 13, 13), 512, _cut_squeezenet, ("classifier.",)
        ),
    )
}


class Encoder:
    """A frozen backbone and the pretrained head above it.

    Parameters
    ----------
    architecture : Architecture
    backbone, head : Module
        BatchNorm is folded into the backbone's convolutions, of which the caller's stay as they
        are; the head keeps its own, since it trains.
    weights : Weights
    device : torch.device
    precision : {"auto", "fp32", "bf16", "int8"}
        See `slideloop.features.precision`; int8 see `slideloop.features.quantised`.

    Attributes
    ----------
    architecture : Architecture
    weights : Weights
        What was loaded; recorded with every store and study.
    device : torch.device
        Where the backbone runs.
    precision : {"fp32", "bf16", "int8"}
        In which format.
    head_precision : {"fp32", "bf16", "fp32-fourier"}
        In which format heads that are trained above it compute. On a processor that is float32 by
        Fourier transforms, where these pay; otherwise the backbone's, if it is one to train in.
    makers : dict of str
        What else its bits depend on, beside torch: with int8, its libraries.
    batch : int
        Patches per call; short batches are padded, so a patch's bits never depend on its batch.
    n_readers : int
        Threads that read patches ahead of it.
    resident : ResidentRows or None
        Features that stay on the card; None on a processor.
    """

    def __init__(
        self,
        architecture: Architecture,
        backbone: nn.Module,
        head: nn.Module,
        weights: Weights,
        device: torch.device,
        precision: str = "auto",
    ) -> None:
        self.architecture = architecture
        self.weights = weights
        self.device = device
        self.batch = BATCHES[device.type]
        self.n_readers = min(READERS[device.type], os.cpu_count() or 1)
        self.resident = ResidentRows.of_device(device)
        folded = fold(backbone.eval()).requires_grad_(False).to(device)
        folded = folded.to(memory_format=torch.channels_last)  # pyright: ignore
        name = f"{architecture.name} {weights.sha256}"
        chosen: Precision = (
            choose_precision(folded, device, name, self.batch, INPUT_PX)
            if precision in ("auto", "int8")
            else cast("Precision", precision)
        )
        self.precision = "int8" if precision == "int8" else chosen
        self.makers = {"int8": makers()} if precision == "int8" else {}
        self._backbone = self._in_format(folded, name)
        self._head = head.eval().requires_grad_(False).to(device)
        self.head_precision: HeadPrecision = (
            FOURIER if precision != "bf16" and self._head_may_be_transformed() else chosen
        )

    def _head_may_be_transformed(self) -> bool:
        maps_of = nn.Sequential(*list(self._head.children())[:-N_POOLING])
        return self.device.type == "cpu" and pays(maps_of, self.architecture.feature_shape[-1])

    def _in_format(self, folded: nn.Module, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        if self.precision != "int8":
            return half_of(folded) if self.precision == "bf16" else folded
        if self.device.type != "cpu":
            raise InvalidInputError(
                f"int8 runs on a processor, and the device is {self.device.type}.",
                hint="Use --device cpu, or --precision auto.",
            )
        return quantised(folded, name, self.batch, INPUT_PX)

    def require_made(self, network: str, weights: dict[str, str], what: str, hint: str) -> None:
        """Refuse what another network made.

        Parameters
        ----------
        network : str
            Name of the encoder that made it.
        weights : dict
            Its weights, as recorded.
        what : str
            Begins the sentence: "The study was made".
        hint : str

        Raises
        ------
        StoreMismatchError
        """
        name, ours = self.architecture.name, self.weights
        if (network, weights["sha256"]) != (name, ours.sha256):
            raise StoreMismatchError(
                f"{what} with {network} and {weights['kind']} weights {weights['sha256'][:12]}, "
                f"this server runs {name} and {ours}.",
                hint=hint,
            )

    def new_head(self) -> nn.Module:
        """Return a trainable copy of the pretrained head, in evaluation mode.

        It maps float32 features of shape (n, *feature_shape) to embeddings (n, embedding_dim).
        """
        return copy.deepcopy(self._head).requires_grad_(True)

    @torch.inference_mode()
    def features(
        self, patches: NDArray[np.uint8], normalisation: Normalisation
    ) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """Run the backbone over patches (algorithm.md 1.4).

        Parameters
        ----------
        patches : ndarray of uint8, shape (n, side, side, 3)
            RGB, n of at least 1.
        normalisation : Normalisation
            Means and standard deviations, for pixels in 0..1.

        Returns
        -------
        full : ndarray of float16, shape (n, channels, height, width)
        pooled : ndarray of float16, shape (n, channels)
            Mean of the unrounded features over height and width.
        """
        parts = [
            self._batch(patches[start : start + self.batch], normalisation)
            for start in range(0, len(patches), self.batch)
        ]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def _batch(
        self, patches: NDArray[np.uint8], normalisation: Normalisation
    ) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        n = len(patches)
        padded = np.zeros((self.batch, *patches.shape[1:]), np.uint8)
        padded[:n] = patches
        pixels = torch.from_numpy(padded).permute(0, 3, 1, 2)
        if pixels.shape[-2:] != (INPUT_PX, INPUT_PX):
            # Rounded to whole grey levels, as a resized picture is; ten times as fast as floats.
            pixels = nn.functional.interpolate(
                pixels, (INPUT_PX, INPUT_PX), mode="bilinear", antialias=True, align_corners=False
            )
        mean = torch.tensor(normalisation.mean, device=self.device).view(1, 3, 1, 1)
        std = torch.tensor(normalisation.std, device=self.device).view(1, 3, 1, 1)
        pixels = pixels.to(self.device).contiguous(memory_format=torch.channels_last)
        inputs = pixels.float().sub_(255 * mean).div_(255 * std)
        out = self._backbone(inputs.to(DTYPES.get(self.precision))).float()[:n]
        # float16 ends at 65,504; ImageNet features stay below 100, but a custom file may not.
        full = out.contiguous().clamp(-65504, 65504).half().cpu().numpy()
        return full, out.mean((2, 3)).clamp(-65504, 65504).half().cpu().numpy()


def choose_device(name: str) -> torch.device:
    """Turn `--device auto/cpu/cuda/mps` into a device.

    Raises
    ------
    InvalidInputError
        If the device is not there.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, is_there in available.items() if is_there)
    if not available.get(name, False):
        raise InvalidInputError(
            f"This machine has no device {name!r}.", hint="Use --device auto or --device cpu."
        )
    if name == "cuda":
        _make_exact()
    return torch.device(name)


def _make_exact() -> None:
    """Have CUDA give the same bits for the same work (algorithm.md 8), and float32 be float32.

    Holds for the process, and for what cuBLAS starts after it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore
    torch.backends.cudnn.allow_tf32 = False


def load_encoder(
    name: str = "resnet18",
    weights: str = "imagenet",
    device: str = "auto",
    precision: str = "auto",
) -> Encoder:
    """Build an encoder with its weights.

    Parameters
    ----------
    name : str
        A key of `ENCODERS`.
    weights : str
        "imagenet", "random" or the path of a state dict.
    device : {"auto", "cpu", "cuda", "mps"}
    precision : {"auto", "fp32", "bf16", "int8"}

    Raises
    ------
    InvalidInputError
        If there is no such encoder, device or precision.
    WeightsError
        If the weights cannot be had or belong to another network.
    """
    import torchvision

    if name not in ENCODERS:
        raise InvalidInputError(
            f"There is no encoder {name!r}.", hint=f"Known encoders: {', '.join(ENCODERS)}."
        )
    if precision not in PRECISIONS:
        raise InvalidInputError(
            f"There is no precision {precision!r}.", hint=f"Use one of {', '.join(PRECISIONS)}."
        )
    architecture = ENCODERS[name]
    url = torchvision.models.get_model_weights(architecture.network)["IMAGENET1K_V1"].url
    state, record = load_weights(weights, imagenet_url=url, network=architecture.network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        net = torchvision.models.get_model(architecture.network, weights=None)
    if state is not None:
        _fill(net, state, architecture, record)
    backbone, head = architecture.cut(net)
    return Encoder(architecture, backbone, head, record, choose_device(device), precision)


def _fill(
    net: nn.Module, state: dict[str, torch.Tensor], architecture: Architecture, record: Weights
) -> None:
    """Load a state dict into the network; everything but the dropped classifier must match."""
    wanted = {
        key: tensor
        for key, tensor in net.state_dict().items()
        if not key.startswith(architecture.unused)
    }
    given = {key: t for key, t in state.items() if not key.startswith(architecture.unused)}
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    missing = sorted(wanted.keys() - given.keys() - counters)
    extra = sorted(given.keys() - wanted.keys())
    misshapen = sorted(k for k in wanted.keys() & given.keys() if wanted[k].shape != given[k].shape)
    if missing or extra or misshapen:
        faults = (("lacks", missing), ("has", extra), ("has another shape of", misshapen))
        detail = ", ".join(
            f"{verb} {keys[0]}{f' and {len(keys) - 1} more' if len(keys) > 1 else ''}"
            for verb, keys in faults
            if keys
        )
        raise WeightsError(
            f"The weights {record.name} belong to another network than {architecture.network}: "
            f"the file {detail}.",
            hint="Give the state dict of that network, or choose another one with --encoder.",
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in given.values()):
        raise WeightsError(
            f"The weights {record.name} hold values that are not finite.",
            hint="Give a file that was saved whole and trained to the end.",
        )
    net.load_state_dict(given, strict=False)
