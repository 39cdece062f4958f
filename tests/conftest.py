"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from slideloop.features.encoders import Encoder
    from slideloop.features.workspace import IndexedSlide

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("slideloop", deadline=None)
settings.load_profile("slideloop")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real slides, tiles and weights; the project itself ships none of them."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the checkout: the real slides are not here")
    return folder


@pytest.fixture(scope="session")
def squeezenet() -> Encoder:
    """SqueezeNet with random weights, the quickest of the real encoders."""
    from slideloop.features.encoders import load_encoder

    return load_encoder("squeezenet1_1", "random", "cpu")


@pytest.fixture(scope="session")
def resnet18() -> Encoder:
    """The default encoder with random weights."""
    from slideloop.features.encoders import load_encoder

    return load_encoder("resnet18", "random", "cpu")


@pytest.fixture(scope="session")
def indexed_slide(tmp_path_factory: pytest.TempPathFactory, squeezenet: Encoder) -> IndexedSlide:
    """A generated slide of 16 x 10 patches of 96 px, 118 of them tissue, and its features."""
    from slideloop.evaluation.generated import Scene, write_slide
    from slideloop.features.workspace import IndexedSlide, PatchOptions, Workspace

    folder = tmp_path_factory.mktemp("indexed")
    write_slide(Scene(0, 1536, 1024), folder / "small.tif")
    workspace = Workspace(folder / "workspace")
    (source,) = workspace.open_slides([folder / "small.tif"], PatchOptions(patch=96))
    normalisation = workspace.normalisation("sample", [source])
    store = workspace.index(source, squeezenet, normalisation, "full")
    return IndexedSlide(source, store, squeezenet, normalisation)
