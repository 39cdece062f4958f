"""int8 beside float32: the features, what is kept of the network, and where it is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.unit.features.test_precision import tissue

from slideloop.errors import InvalidInputError
from slideloop.features import quantised
from slideloop.features.encoders import Encoder, load_encoder
from slideloop.features.environment import environment, machine_of
from slideloop.features.normalisation import IMAGENET


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    yield folder / "slideloop" / "int8"
    del os.environ["XDG_CACHE_HOME"]
    if before is not None:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="module")
def whole(cache: Path) -> Encoder:
    assert cache
    return load_encoder("squeezenet1_1", "random", "cpu", "int8")


def test_features_in_int8_tell_patches_apart_as_float32_does(
    whole: Encoder, squeezenet: Encoder
) -> None:
    patches = tissue(24)
    found = whole.features(patches, IMAGENET)[1].astype(np.float64)
    expected = squeezenet.features(patches, IMAGENET)[1].astype(np.float64)
    apart, wanted = found - found.mean(0), expected - expected.mean(0)
    likeness = (apart * wanted).sum() / np.linalg.norm(apart) / np.linalg.norm(wanted)
    # Between random weights' features of patches there is little difference to keep.
    assert 0.95 < likeness < 1


def test_the_bits_of_a_patch_depend_neither_on_its_batch_nor_on_the_thread(whole: Encoder) -> None:
    patches = tissue(11)
    full, pooled = whole.features(patches, IMAGENET)
    with ThreadPoolExecutor(3) as threads:
        alone = list(threads.map(lambda i: whole.features(patches[i : i + 1], IMAGENET), range(11)))
    assert np.array_equal(full, np.concatenate([each[0] for each in alone]))
    assert np.array_equal(pooled, np.concatenate([each[1] for each in alone]))


def test_the_network_is_quantised_once(
    whole: Encoder, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kept,) = cache.iterdir()
    stamp = (kept / "model.bin").stat().st_mtime_ns
    monkeypatch.setattr(quantised.subprocess, "run", None)
    again = load_encoder("squeezenet1_1", "random", "cpu", "int8")
    patches = tissue(3)
    assert np.array_equal(
        again.features(patches, IMAGENET)[0], whole.features(patches, IMAGENET)[0]
    )
    assert (kept / "model.bin").stat().st_mtime_ns == stamp
    assert list(cache.iterdir()) == [kept]


def test_the_noise_is_normalised_and_always_the_same() -> None:
    first, second = (list(quantised.calibration(2, 64)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert abs(np.mean(first)) < 0.05
    assert 0.9 < np.std(first) < 1.05
    assert (np.min(first), np.max(first)) == (-3, 2)


def test_what_made_the_features_is_recorded(whole: Encoder) -> None:
    found = machine_of(environment(whole, [[0.5] * 3, [0.2] * 3]))
    assert found["dtype"] == "int8"
    assert found["head_dtype"] == whole.head_precision
    assert found["int8"].startswith("OpenVINO 20")


def test_heads_train_in_a_format_that_can_be_trained(whole: Encoder) -> None:
    assert whole.head_precision in ("fp32", "bf16", "fp32-fourier")


def test_without_its_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise quantised.PackageNotFoundError(name)

    monkeypatch.setattr(quantised, "version", missing)
    with pytest.raises(InvalidInputError, match=r"slideloop\[int8\]"):
        load_encoder("squeezenet1_1", "random", "cpu", "int8")


def test_a_machine_that_takes_too_long_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(quantised, "_TIMEOUT_S", 0.06)
    with pytest.raises(InvalidInputError, match=r"after 0\.001 minutes"):
        load_encoder("squeezenet1_1", "random", "cpu", "int8")
    assert list((tmp_path / "slideloop" / "int8").iterdir()) == []
