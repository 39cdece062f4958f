"""From a source of patches to its store: order, filter, interruption, one process at a time."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tests.slide_files import ArrayReader
from torch import nn

from slideloop.errors import (
    NormalisationMismatchError,
    NoTissueError,
    NotRgbError,
    StoreDamagedError,
    StoreMismatchError,
    UnreadableSlideError,
)
from slideloop.features.encoders import Architecture, Encoder
from slideloop.features.indexing import dataset_normalisation, index, sample_normalisation
from slideloop.features.normalisation import IMAGENET, measure
from slideloop.features.sources import SlidePatches, TileFile, TilePatches
from slideloop.features.store import FeatureStore
from slideloop.features.weights import Weights
from slideloop.features.workspace import IndexedSlide, Workspace
from slideloop.learning.database import Database
from slideloop.slides.filters import is_dropped, judge
from slideloop.slides.grid import Grid, make_grid, visit_order

SIDE = 32
COLUMNS, ROWS = 14, 10


def section() -> NDArray[np.uint8]:
    """Fourteen by ten patches: noise, glass, specks, and one colour, by turns."""
    rng = np.random.default_rng(0)
    pixels = np.full((ROWS * SIDE + 7, COLUMNS * SIDE + 3, 3), 245, np.uint8)
    for row in range(ROWS):
        for column in range(COLUMNS):
            square = pixels[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
            kind = (row * 5 + column * 3) % 8
            if kind == 1:
                square[:] = (170, 90, 150)  # structureless alone
            elif kind == 2:
                square[:] = 0  # white specks on black: empty, but with structure
                square[::8, ::8] = 245
            elif kind not in (0, 3):
                square[:] = rng.integers(0, 256, square.shape, np.uint8)
    return pixels


class CountingReader(ArrayReader):
    """A slide in memory that counts how often each patch is read."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        super().__init__(pixels)
        self.reads: Counter[tuple[int, int]] = Counter()

    def read(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        for left in range(x, x + width, SIDE):
            self.reads.update((left, top) for top in range(y, y + height, SIDE))
        return super().read(x, y, width, height)


def source_of(pixels: NDArray[np.uint8], rule: str = "tissue") -> SlidePatches:
    height, width = pixels.shape[:2]
    grid = make_grid(width, height, None, SIDE)
    return SlidePatches(CountingReader(pixels), grid, rule, "f" * 64)


def reads_of(source: SlidePatches) -> Counter[tuple[int, int]]:
    assert isinstance(source.reader, CountingReader)
    return source.reader.reads


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return section()


@pytest.fixture(scope="module")
def small() -> Encoder:
    """A real network, small enough to index a slide in no time."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 32, 32), nn.ReLU())
    head = nn.Sequential(nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    cut: Any = None
    architecture = Architecture("small", "small", (8, 7, 7), 8, cut, ())
    weights = Weights("random", "seed 0", "0" * 64)
    return Encoder(architecture, backbone, head, weights, torch.device("cpu"))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def flat_cells(store: FeatureStore, grid: Grid) -> list[int]:
    return (store.cells[:, 1] * grid.n_columns + store.cells[:, 0]).tolist()


# Order and filter ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["tissue", "paper", "none"])
def test_patches_are_kept_by_the_rule_in_visit_order(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8], rule: str
) -> None:
    source = source_of(pixels, rule)
    store = index(source, small, IMAGENET, tmp_path)
    verdicts = {int(cell): judge(source.read(cell)) for cell in visit_order(source.grid)}
    kept = [cell for cell, verdict in verdicts.items() if not is_dropped(verdict, rule)]
    assert flat_cells(store, source.grid) == kept
    assert 32 < len(kept) <= source.n_cells


@pytest.mark.parametrize("rule", ["tissue", "paper"])
def test_the_counts_per_reason_serve_both_rules(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8], rule: str
) -> None:
    source = source_of(pixels, rule)
    counts = index(source, small, IMAGENET, tmp_path).manifest["verdicts"]
    verdicts = [judge(source.read(cell)) for cell in range(source.n_cells)]
    assert counts == {
        "background": sum(v.background and not v.structureless for v in verdicts),
        "structureless": sum(v.structureless and not v.background for v in verdicts),
        "both": sum(v.background and v.structureless for v in verdicts),
    }
    assert min(counts.values()) > 0
    assert sum(is_dropped(v, "paper") for v in verdicts) == sum(counts.values())
    assert sum(is_dropped(v, "tissue") for v in verdicts) == counts["both"]


def test_each_patch_is_read_and_few_are_read_twice(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8]
) -> None:
    source = source_of(pixels)
    index(source, small, IMAGENET, tmp_path)
    assert len(reads_of(source)) == source.n_cells == ROWS * COLUMNS
    assert reads_of(source).total() < 1.1 * source.n_cells


def test_neighbours_that_are_read_together_are_the_patches_one_by_one() -> None:
    rng = np.random.default_rng(0)
    for step in (SIDE, SIDE // 2):
        pixels = rng.integers(0, 256, (12 * SIDE + 5, 10 * SIDE + 3, 3), np.uint8)
        grid = make_grid(pixels.shape[1], pixels.shape[0], None, SIDE, step)
        source = SlidePatches(CountingReader(pixels), grid, "none", "f" * 64)
        group = np.flatnonzero(grid.group_of(np.arange(grid.n_cells)) == 0)
        chosen = rng.permuted(group)[: len(group) * 2 // 3]
        patches = source.read_many(chosen)
        assert reads_of(source).total() <= (8 + 1) ** 2  # one rectangle
        for position, patch in zip(chosen.tolist(), patches, strict=True):
            assert np.array_equal(patch, source.read(position))


def test_features_are_those_of_the_patch_at_its_cell(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8]
) -> None:
    source = source_of(pixels)
    store = index(source, small, IMAGENET, tmp_path)
    for place in (0, 31, 32, len(store) - 1):
        column, row = store.cells[place].tolist()
        patch = pixels[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
        full, pooled = small.features(patch[None], IMAGENET)
        assert np.array_equal(store.features()[place], full[0])
        assert np.array_equal(store.pooled[place], pooled[0])


def test_a_real_slides_features_are_those_of_its_patches(
    indexed_slide: IndexedSlide, squeezenet: Encoder
) -> None:
    store, source = indexed_slide.store, indexed_slide.source
    assert len(store) > 100
    normalisation = sample_normalisation(source)
    assert normalisation.figures() == store.identity["normalisation"]
    column, row = store.cells[40].tolist()
    patch = source.read_square(indexed_slide.grid.rectangle(column, row))
    full, _ = squeezenet.features(patch[None], normalisation)
    assert np.array_equal(store.features()[40], full[0])


def test_pooled_and_full_stores_hold_the_same_pooled_features(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8]
) -> None:
    source = source_of(pixels)
    pooled = index(source, small, IMAGENET, tmp_path / "pooled", kind="pooled")
    full = index(source, small, IMAGENET, tmp_path / "full", kind="full")
    assert pooled.full is None
    assert pooled.id == full.id
    assert np.array_equal(pooled.pooled, full.pooled)
    assert pooled.checksum(len(pooled)) == full.checksum(len(full))


def test_a_slide_is_indexed_once(tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8]) -> None:
    first = index(source_of(pixels), small, IMAGENET, tmp_path)
    source = source_of(pixels)
    again = index(source, small, IMAGENET, tmp_path)
    assert again.folder == first.folder
    assert not reads_of(source)


def test_another_normalisation_is_another_store_and_they_do_not_mix(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8]
) -> None:
    source = source_of(pixels)
    one = index(source, small, IMAGENET, tmp_path)
    other = index(source, small, sample_normalisation(source), tmp_path)
    assert one.id != other.id
    with pytest.raises(NormalisationMismatchError, match="same normalisation"):
        Database([one, other])


def test_progress_counts_all_patches_of_the_grid(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8]
) -> None:
    seen: list[tuple[int, int]] = []
    source = source_of(pixels)
    index(source, small, IMAGENET, tmp_path, progress=lambda *n: seen.append(n))
    assert [n for n, _ in seen] == sorted(n for n, _ in seen)
    assert {total for _, total in seen} == {source.n_cells}


def test_the_number_of_threads_is_put_back(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8]
) -> None:
    before = torch.get_num_threads()
    store = index(source_of(pixels), small, IMAGENET, tmp_path)
    assert torch.get_num_threads() == before == store.manifest["n_threads"]


# All glass -----------------------------------------------------------------------------------


def test_a_slide_of_glass_is_refused_and_leaves_nothing(tmp_path: Path, small: Encoder) -> None:
    source = source_of(np.full((ROWS * SIDE, COLUMNS * SIDE, 3), 245, np.uint8))
    with pytest.raises(NoTissueError, match="looks like glass all over") as caught:
        index(source, small, IMAGENET, tmp_path)
    assert "--filter none" in caught.value.hint
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    with pytest.raises(NoTissueError):
        sample_normalisation(source)


def test_without_a_filter_glass_is_indexed(tmp_path: Path, small: Encoder) -> None:
    source = source_of(np.full((ROWS * SIDE, COLUMNS * SIDE, 3), 245, np.uint8), "none")
    assert len(index(source, small, IMAGENET, tmp_path)) == source.n_cells


# Interruption --------------------------------------------------------------------------------


class _PowerCutError(Exception):
    pass


def stop_after(n_batches: int) -> Any:
    calls = []

    def progress(n_visited: int, n_cells: int) -> None:
        calls.append(n_visited)
        if len(calls) == n_batches:
            raise _PowerCutError

    return progress


@pytest.mark.parametrize("n_batches", [1, 2, 3])
def test_an_interrupted_index_goes_on_to_the_same_bytes(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8], n_batches: int
) -> None:
    whole = index(source_of(pixels), small, IMAGENET, tmp_path / "whole")
    with pytest.raises(_PowerCutError):
        index(source_of(pixels), small, IMAGENET, tmp_path / "cut", progress=stop_after(n_batches))
    resumed = index(source_of(pixels), small, IMAGENET, tmp_path / "cut")
    assert bytes_of(resumed.folder) == bytes_of(whole.folder)


@pytest.mark.slow
def test_a_real_network_goes_on_to_the_same_bytes(tmp_path: Path, squeezenet: Encoder) -> None:
    pixels = section()[: 5 * SIDE]
    whole = index(source_of(pixels), squeezenet, IMAGENET, tmp_path / "whole")
    with pytest.raises(_PowerCutError):
        index(source_of(pixels), squeezenet, IMAGENET, tmp_path / "cut", progress=stop_after(1))
    resumed = index(source_of(pixels), squeezenet, IMAGENET, tmp_path / "cut")
    assert len(whole) > 32
    assert bytes_of(resumed.folder) == bytes_of(whole.folder)


def test_reading_does_not_start_again(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8]
) -> None:
    visited: list[int] = []

    def progress(n_visited: int, n_cells: int) -> None:
        visited.append(n_visited)
        if len(visited) == 2:
            raise _PowerCutError

    with pytest.raises(_PowerCutError):
        index(source_of(pixels), small, IMAGENET, tmp_path, progress=progress)
    source = source_of(pixels)
    index(source, small, IMAGENET, tmp_path)
    assert len(reads_of(source)) < source.n_cells
    left = source.n_cells - visited[-1]
    assert left <= reads_of(source).total() < 1.2 * left


def test_a_damaged_tail_is_made_again(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8]
) -> None:
    whole = index(source_of(pixels), small, IMAGENET, tmp_path / "whole")
    root = tmp_path / "cut"
    with pytest.raises(_PowerCutError):
        index(source_of(pixels), small, IMAGENET, root, progress=stop_after(2))
    (partial,) = root.glob("*.partial")
    data = (partial / "full.npy").read_bytes()
    (partial / "full.npy").write_bytes(data[:-100] + bytes(70))
    resumed = index(source_of(pixels), small, IMAGENET, root)
    assert bytes_of(resumed.folder) == bytes_of(whole.folder)


def test_a_moved_slide_goes_on_where_it_stopped(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8]
) -> None:
    with pytest.raises(_PowerCutError):
        index(source_of(pixels), small, IMAGENET, tmp_path, progress=stop_after(2))
    moved = source_of(pixels)
    moved.details["path"] = "elsewhere/in-memory.tif"
    index(moved, small, IMAGENET, tmp_path)
    assert sum(reads_of(moved).values()) < moved.n_cells


def test_a_damaged_store_is_not_used_and_not_replaced(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8]
) -> None:
    store = index(source_of(pixels), small, IMAGENET, tmp_path)
    path = store.folder / "pooled.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreDamagedError, match=store.id):
        index(source_of(pixels), small, IMAGENET, tmp_path)
    assert path.read_bytes() == bytes(data)


SECOND_PROCESS = """
import sys
from pathlib import Path
from filelock import FileLock, Timeout
try:
    with FileLock(Path(sys.argv[1]), timeout=0):
        pass
except Timeout:
    sys.exit(7)
"""


def test_the_lock_on_a_slide_holds_between_processes(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8]
) -> None:
    codes = []

    def progress(n_visited: int, n_cells: int) -> None:
        (lock,) = tmp_path.glob("*.lock")
        command = [sys.executable, "-c", SECOND_PROCESS, str(lock)]
        codes.append(subprocess.run(command, check=False).returncode)

    index(source_of(pixels[: 5 * SIDE]), small, IMAGENET, tmp_path, progress=progress)
    assert set(codes) == {7}


def test_a_second_index_of_the_same_slide_is_told_to_wait(
    tmp_path: Path, small: Encoder, pixels: NDArray[np.uint8]
) -> None:
    refusals: list[str] = []

    def progress(n_visited: int, n_cells: int) -> None:
        if not refusals:
            with pytest.raises(StoreMismatchError, match="being indexed by another") as caught:
                index(source_of(pixels), small, IMAGENET, tmp_path)
            refusals.append(caught.value.hint)

    index(source_of(pixels), small, IMAGENET, tmp_path, progress=progress)
    assert refusals == ["Wait until it is done."]


# Normalisation -------------------------------------------------------------------------------


def test_the_sample_is_measured_on_the_kept_patches_in_index_order(
    pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slideloop.features.indexing.SAMPLE_PATCHES", 20)
    source = source_of(pixels)
    patches = (source.read(cell) for cell in visit_order(source.grid))
    kept = [patch for patch in patches if not is_dropped(judge(patch), "tissue")][:20]
    assert sample_normalisation(source_of(pixels)) == measure(kept, "sample")


def test_the_data_set_is_measured_on_all_kept_patches_of_all_slides(
    pixels: NDArray[np.uint8],
) -> None:
    sources = [source_of(pixels), source_of(pixels[::-1].copy())]
    patches = (source.read(cell) for source in sources for cell in range(source.n_cells))
    kept = [patch for patch in patches if not is_dropped(judge(patch), "tissue")]
    assert dataset_normalisation(sources) == measure(kept, "dataset")


def test_a_workspace_keeps_the_normalisation_of_its_first_slide(
    tmp_path: Path, pixels: NDArray[np.uint8]
) -> None:
    workspace = Workspace(tmp_path)
    first = workspace.normalisation("sample", [source_of(pixels)])
    darker = source_of(pixels // 2)
    assert workspace.normalisation("sample", [darker]) == first
    assert workspace.normalisation("dataset", [darker]).mean[0] < first.mean[0]
    assert workspace.normalisation("imagenet", [darker]) == IMAGENET
    given = workspace.normalisation("0.5,0.5,0.5/0.1,0.1,0.1", [darker])
    assert given.mean == (0.5, 0.5, 0.5)


# Tiles ---------------------------------------------------------------------------------------


def tiles_in(folder: Path, n: int = 40) -> list[TileFile]:
    rng = np.random.default_rng(1)
    tiles = []
    for i in range(n):
        path = folder / f"{i:02}.png"
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path)
        tiles.append(TileFile(path, "TUM" if i % 2 else "NORM"))
    return tiles


def test_every_tile_is_indexed_in_a_shuffled_order(tmp_path: Path, small: Encoder) -> None:
    tiles = tiles_in(tmp_path)
    store = index(TilePatches(tiles, "tiles"), small, IMAGENET, tmp_path / "features")
    order = store.cells[:, 0].tolist()
    assert sorted(order) == list(range(40)) != order
    place = order.index(17)
    full, _ = small.features(np.asarray(Image.open(tiles[17].path))[None], IMAGENET)
    assert np.array_equal(store.features()[place], full[0])


def test_a_tile_that_was_changed_makes_another_store(tmp_path: Path) -> None:
    tiles = tiles_in(tmp_path, 3)
    before = TilePatches(tiles, "tiles").identity
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(tiles[1].path)
    assert TilePatches(tiles, "tiles").identity != before


def test_a_tile_that_is_no_picture_is_named(tmp_path: Path, small: Encoder) -> None:
    tiles = tiles_in(tmp_path, 3)
    tiles[2].path.write_bytes(b"no picture")
    with pytest.raises(UnreadableSlideError, match=r"02\.png"):
        index(TilePatches(tiles, "tiles"), small, IMAGENET, tmp_path / "features")


def test_a_grey_tile_is_named(tmp_path: Path, small: Encoder) -> None:
    tiles = tiles_in(tmp_path, 3)
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(tiles[0].path)
    with pytest.raises(NotRgbError, match=r"00\.png"):
        index(TilePatches(tiles, "tiles"), small, IMAGENET, tmp_path / "features")


def test_tiles_of_two_sizes_are_refused_by_name(tmp_path: Path, small: Encoder) -> None:
    tiles = tiles_in(tmp_path, 3)
    Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(tiles[1].path)
    with pytest.raises(UnreadableSlideError, match=r"01\.png"):
        index(TilePatches(tiles, "tiles"), small, IMAGENET, tmp_path / "features")


def test_a_tile_that_is_not_square_is_used(tmp_path: Path, small: Encoder) -> None:
    for i in range(2):
        Image.fromarray(np.full((20, 30, 3), 90 + i, np.uint8)).save(tmp_path / f"{i}.png")
    tiles = [TileFile(tmp_path / f"{i}.png", "A") for i in range(2)]
    assert len(index(TilePatches(tiles, "tiles"), small, IMAGENET, tmp_path / "f")) == 2
