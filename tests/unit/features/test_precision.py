"""bf16 beside float32: the features, the choice, and what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from slideloop.errors import InvalidInputError
from slideloop.features.encoders import Encoder, load_encoder
from slideloop.features.normalisation import IMAGENET
from slideloop.features.precision import MOST_DIFFERENT


@pytest.fixture(scope="module")
def narrow() -> Encoder:
    return load_encoder("squeezenet1_1", "random", "cpu", "bf16")


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "slideloop" / "precision.json"


def tissue(n: int) -> NDArray[np.uint8]:
    """Patches of smooth spots, each of its own colours."""
    coarse = torch.from_numpy(np.random.default_rng(0).random((n, 3, 7, 7), np.float32))
    pixels = torch.nn.functional.interpolate(coarse * 255, (224, 224), mode="bilinear")
    return pixels.byte().permute(0, 2, 3, 1).contiguous().numpy()


def test_features_in_bf16_agree_with_float32(narrow: Encoder, squeezenet: Encoder) -> None:
    patches = tissue(11)
    pairs = zip(
        narrow.features(patches, IMAGENET), squeezenet.features(patches, IMAGENET), strict=True
    )
    for found, expected in pairs:
        wide = expected.astype(np.float64)
        difference = np.linalg.norm(found - wide) / np.linalg.norm(wide - wide.mean(0))
        assert 0 < difference < MOST_DIFFERENT


def test_the_bits_of_a_patch_do_not_depend_on_its_batch_in_bf16(narrow: Encoder) -> None:
    patches = tissue(11)
    full, pooled = narrow.features(patches, IMAGENET)
    full_alone, pooled_alone = narrow.features(patches[9:10], IMAGENET)
    assert np.array_equal(full[9:10], full_alone)
    assert np.array_equal(pooled[9:10], pooled_alone)


def test_the_head_stays_float32(narrow: Encoder) -> None:
    assert {p.dtype for p in narrow.new_head().parameters()} == {torch.float32}


def test_the_choice_is_measured_once_and_kept(memory: Path) -> None:
    chosen = load_encoder("squeezenet1_1", "random", "cpu").precision
    kept = json.loads(memory.read_text())
    assert list(kept.values()) == [chosen]
    other = "fp32" if chosen == "bf16" else "bf16"
    memory.write_text(json.dumps(dict.fromkeys(kept, other)))
    assert load_encoder("squeezenet1_1", "random", "cpu").precision == other


@pytest.mark.parametrize("content", ["{", "[]", '{"x": 3}'])
def test_a_damaged_finding_is_measured_again(memory: Path, content: str) -> None:
    memory.parent.mkdir()
    memory.write_text(content)
    chosen = load_encoder("squeezenet1_1", "random", "cpu").precision
    assert chosen in json.loads(memory.read_text()).values()


def test_a_finding_that_cannot_be_kept_is_no_fault(memory: Path) -> None:
    memory.parent.write_text("a file where the folder should be")
    assert load_encoder("squeezenet1_1", "random", "cpu").precision in ("fp32", "bf16")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="int4"):
        load_encoder("squeezenet1_1", "random", "cpu", "int4")
