"""The cut of each network, and the bits of a patch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray

from slideloop.errors import InvalidInputError
from slideloop.features.encoders import ENCODERS, Encoder, choose_device, load_encoder
from slideloop.features.normalisation import IMAGENET, Normalisation


def patches_of(n: int, side: int = 224, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), np.uint8)


@pytest.fixture(scope="module")
def encoders(squeezenet: Encoder, resnet18: Encoder) -> dict[str, Encoder]:
    early = load_encoder("resnet18-layer4.0", "random", "cpu", "fp32")
    return {"squeezenet1_1": squeezenet, "resnet18": resnet18, "resnet18-layer4.0": early}


NORMALISATION = Normalisation((0.6, 0.5, 0.7), (0.2, 0.3, 0.1))
PATCHES = patches_of(2)


@pytest.fixture(scope="module")
def embedded(encoders: dict[str, Encoder]) -> dict[str, tuple[NDArray[np.float16], ...]]:
    """Full and pooled features of two patches, by encoder."""
    return {name: encoders[name].features(PATCHES, NORMALISATION) for name in ENCODERS}


def whole_network(name: str) -> torch.nn.Module:
    """Torchvision's own network of the same seed, up to the pooled layer."""
    torch.manual_seed(0)
    net = torchvision.models.get_model(ENCODERS[name].network, weights=None)
    if name == "squeezenet1_1":
        return torch.nn.Sequential(
            net.features, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        ).eval()
    net.fc = torch.nn.Identity()
    return net.eval()


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_backbone_and_head_together_are_torchvisions_network(
    encoders: dict[str, Encoder], embedded: dict[str, tuple[NDArray[np.float16], ...]], name: str
) -> None:
    full, _ = embedded[name]
    found = encoders[name].new_head()(torch.from_numpy(full.astype(np.float32)))
    pixels = (PATCHES / 255 - NORMALISATION.mean) / NORMALISATION.std
    expected = whole_network(name)(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    # What lies between is the rounding of the features to float16.
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("name", ENCODERS)
def test_features_and_embeddings_have_the_shapes_that_are_declared(
    encoders: dict[str, Encoder], embedded: dict[str, tuple[NDArray[np.float16], ...]], name: str
) -> None:
    architecture = ENCODERS[name]
    full, pooled = embedded[name]
    assert full.shape == (2, *architecture.feature_shape)
    assert pooled.shape == (2, architecture.feature_shape[0])
    assert full.dtype == pooled.dtype == np.float16
    embeddings = encoders[name].new_head()(torch.from_numpy(full.astype(np.float32)))
    assert embeddings.shape == (2, architecture.embedding_dim)


def test_the_default_encoder_stores_512_by_7_by_7() -> None:
    assert ENCODERS["resnet18"].feature_shape == (512, 7, 7)


def test_the_earlier_cut_has_78_percent_more_parameters_in_its_head(
    encoders: dict[str, Encoder],
) -> None:
    late, early = (
        sum(p.numel() for p in encoders[name].new_head().parameters())
        for name in ("resnet18", "resnet18-layer4.0")
    )
    assert round(100 * (early / late - 1)) == 78


@pytest.mark.parametrize(
    "name", ["squeezenet1_1", pytest.param("resnet18", marks=pytest.mark.slow)]
)
def test_the_bits_of_a_patch_do_not_depend_on_its_batch(
    encoders: dict[str, Encoder], name: str
) -> None:
    patches = patches_of(35, 64)
    together = encoders[name].features(patches, IMAGENET)
    alone = encoders[name].features(patches[33:34], IMAGENET)
    shifted = encoders[name].features(patches[20:35], IMAGENET)
    for whole, single, part in zip(together, alone, shifted, strict=True):
        assert np.array_equal(whole[33:34], single)
        assert np.array_equal(whole[20:35], part)


@pytest.mark.parametrize("name", ENCODERS)
def test_pooled_features_are_the_mean_of_the_full_ones(
    embedded: dict[str, tuple[NDArray[np.float16], ...]], name: str
) -> None:
    full, pooled = embedded[name]
    expected = full.astype(np.float64).mean((2, 3))
    np.testing.assert_allclose(pooled, expected, rtol=2e-3, atol=1e-4)


def test_a_patch_of_another_size_is_resized_with_antialiasing(squeezenet: Encoder) -> None:
    # A checkerboard finer than the input is grey to a filter that does not skip pixels.
    side = 448
    checkers = (np.indices((side, side)).sum(0) % 2 * 255).astype(np.uint8)
    patch = np.repeat(checkers[None, :, :, None], 3, axis=3)
    grey = np.full((1, 224, 224, 3), 128, np.uint8)
    normalisation = Normalisation((0.0, 0.0, 0.0), (0.2, 0.2, 0.2))
    _, fine = squeezenet.features(patch, normalisation)
    _, flat = squeezenet.features(grey, normalisation)
    np.testing.assert_allclose(fine, flat, rtol=0.02, atol=5e-3)
    assert flat.max() > 0.1


def test_features_beyond_float16_are_clamped_and_not_infinite(tmp_path: Path) -> None:
    torch.manual_seed(3)
    state = torchvision.models.get_model("squeezenet1_1", weights=None).state_dict()
    state["features.0.weight"] *= 1e7
    torch.save(state, tmp_path / "loud.pth")
    encoder = load_encoder("squeezenet1_1", str(tmp_path / "loud.pth"), "cpu", "fp32")
    full, pooled = encoder.features(patches_of(1, 64), IMAGENET)
    assert full.max() == 65504
    assert np.isfinite(full).all() and np.isfinite(pooled).all()


def test_the_papers_head_runs_by_fourier_transforms_unless_told_otherwise() -> None:
    def of(name: str, precision: str) -> str:
        return load_encoder(name, "random", "cpu", precision).head_precision

    assert of("resnet18", "auto") == of("resnet18", "fp32") == "fp32-fourier"
    assert of("resnet18", "bf16") == "bf16"
    assert of("resnet18-layer4.0", "fp32") == of("squeezenet1_1", "fp32") == "fp32"


def test_each_head_is_a_copy_of_the_pretrained_one(squeezenet: Encoder) -> None:
    one, other = squeezenet.new_head(), squeezenet.new_head()
    with torch.no_grad():
        next(one.parameters()).add_(1)
    assert not torch.equal(next(one.parameters()), next(other.parameters()))
    assert all(parameter.requires_grad for parameter in other.parameters())
    assert not other.training


def test_an_unknown_encoder_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match="no encoder 'vgg'") as caught:
        load_encoder("vgg", "random", "cpu", "fp32")
    assert "resnet18-layer4.0" in caught.value.hint


@pytest.mark.parametrize("name", ["tpu", "cuda:7", ""])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="has no device"):
        choose_device(name)


def test_the_processor_is_always_there() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


def test_real_weights_fit_their_network(shared_data: Path) -> None:
    path = shared_data / "weights" / "squeezenet1_1_imagenet_features.pth"
    encoder = load_encoder("squeezenet1_1", str(path), "cpu", "fp32")
    assert encoder.weights.kind == "custom"
    _, pooled = encoder.features(patches_of(1, 64), IMAGENET)
    assert 0 < pooled.mean() < 100
