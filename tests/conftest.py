"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slideloop.evaluation.subjects import Subject
    from slideloop.features.encoders import Encoder
    from slideloop.features.workspace import IndexedSlide

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("slideloop", deadline=None)
settings.load_profile("slideloop")


@pytest.fixture(scope="session", autouse=True)
def _nobodys_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the settings and data of whoever runs the tests out of them."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper().startswith("SLIDELOOP_")]:
            patch.delenv(name)
        patch.setenv("XDG_CONFIG_HOME", str(home / "config"))
        patch.setenv("XDG_DATA_HOME", str(home / "data"))
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        # What is fastest is a matter of the machine; tests that ask for it say so.
        patch.setenv("SLIDELOOP_PRECISION", "fp32")
        yield


@pytest.fixture(scope="session", autouse=True)
def _interrupts_arrive() -> Iterator[None]:
    """Let Ctrl-C be tried also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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

    return load_encoder("squeezenet1_1", "random", "cpu", "fp32")


@pytest.fixture(scope="session")
def resnet18() -> Encoder:
    """The default encoder with random weights."""
    from slideloop.features.encoders import load_encoder

    return load_encoder("resnet18", "random", "cpu", "fp32")


@pytest.fixture(scope="session")
def indexed_slide(
    tmp_path_factory: pytest.TempPathFactory, squeezenet: Encoder
) -> Iterator[IndexedSlide]:
    """A generated slide of 16 x 10 patches of 96 px, 118 of them tissue, and its features."""
    from slideloop.evaluation.generated import Scene, write_slide
    from slideloop.features.workspace import IndexedSlide, PatchOptions, Workspace

    folder = tmp_path_factory.mktemp("indexed")
    write_slide(Scene(0, 1536, 1024), folder / "small.tif")
    workspace = Workspace(folder / "workspace")
    (source,) = workspace.open_slides([folder / "small.tif"], PatchOptions(patch=96))
    normalisation = workspace.normalisation("sample", [source])
    store = workspace.index(source, squeezenet, normalisation, "full")
    yield IndexedSlide(source, store, squeezenet, normalisation)
    source.reader.close()


@pytest.fixture(scope="session")
def small_slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `small.tif` and `other.tif`, generated, 118 and some patches of 96 px of
    tissue, each with its truth beside it as `.geojson`.
    """
    from slideloop.evaluation.generated import Scene, truth_geojson, write_slide

    folder = tmp_path_factory.mktemp("slides")
    for name, seed in (("small", 0), ("other", 1)):
        scene = Scene(seed, 1536, 1024)
        write_slide(scene, folder / f"{name}.tif")
        (folder / f"{name}.geojson").write_text(json.dumps(truth_geojson(scene)))
    return folder


@pytest.fixture(scope="session")
def small_workspace(tmp_path_factory: pytest.TempPathFactory, small_slides: Path) -> Path:
    """A workspace in which `small.tif` is indexed; tests may add to it."""
    from tests.command_line import QUICK, slideloop

    workspace = tmp_path_factory.mktemp("workspace")
    slides = small_slides / "small.tif"
    outcome = slideloop("index", slides, "--workspace", workspace, *QUICK)
    assert outcome.code == 0, outcome.err
    return workspace


@pytest.fixture(scope="session")
def small_journal(
    tmp_path_factory: pytest.TempPathFactory, small_slides: Path, small_workspace: Path
) -> Path:
    """The journal of a study of one round of eight on `small.tif`."""
    from tests.command_line import QUICK, slideloop

    out = tmp_path_factory.mktemp("played")
    outcome = slideloop(
        "simulate", small_slides / "small.tif", "--truth", small_slides / "small.geojson",
        "--positive", "Tumor", "--strategy", "random", "--queries", 1, "--rounds", 1, "--k", 8,
        "--seeds", 1, "--workspace", small_workspace, "--out", out, *QUICK,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return out / "study-random-0.ndjson"


@pytest.fixture(scope="session")
def colon(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[Subject]:
    """The real colon slide, 1,676 patches of 224 px, features of the stand-in weights, its truth.

    Indexed once for all tests; positive is Tumor.
    """
    from slideloop.evaluation.subjects import read_truths, slide_subject
    from slideloop.features.encoders import load_encoder
    from slideloop.features.workspace import IndexedSlide, PatchOptions, Workspace

    workspace = Workspace(tmp_path_factory.mktemp("colon"))
    weights = shared_data / "weights" / "resnet18_standin.pth"
    encoder = load_encoder("resnet18", str(weights), "cpu", "fp32")
    slide = shared_data / "slides" / "colon_regions.tif"
    (source,) = workspace.open_slides([slide], PatchOptions(patch=224))
    size = source.reader.info.width, source.reader.info.height
    truth = shared_data / "truth" / "colon_regions.geojson"
    truths, positive = read_truths([truth], [size], "Tumor", None)
    normalisation = workspace.normalisation("sample", [source])
    store = workspace.index(source, encoder, normalisation, "pooled")
    indexed = IndexedSlide(source, store, encoder, normalisation)
    yield slide_subject([indexed], truths, positive, "classes", encoder)
    workspace.close()
