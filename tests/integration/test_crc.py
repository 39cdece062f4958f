"""The CRC protocol on tile folders: real tiles in small, and a real slide cut into tiles."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tests.command_line import left_in, slideloop

from slideloop.evaluation.subjects import tile_sources
from slideloop.features.store import open_store
from slideloop.slides.reader import open_slide
from slideloop.studies.journal import Journal, read_journal

pytestmark = pytest.mark.slow

TILE_FIELDS = {"session", "n_labels", "n_query_labels", "accuracy", "perfect_p10", "p10", "round_s"}
PATCH = 224
TILES_PER_REGION = 6
REGIONS = {"Tumor": 49, "Normal": 39}
"""Number of the slide's regions per class."""


def simulate(folder: Path, *options: Any) -> dict[str, Any]:
    outcome = slideloop(
        "simulate", "--tiles", folder / "search", "--held-out", folder / "held-out",
        "--store", "pooled", "--workspace", folder / "workspace", "--out", folder / "out", *options,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return json.loads((folder / "out" / "result.json").read_text())


# Real CRC tiles ------------------------------------------------------------------------------


def sort_by_origin(tiles: Path, folder: Path) -> None:
    """Lay CRC-VAL tiles (named after TCGA) in the search folder, those of NCT among the others."""
    for tile in tiles.glob("*/*.*"):
        part = "search" if "-TCGA-" in tile.name else "held-out"
        target = folder / part / tile.parent.name
        target.mkdir(parents=True, exist_ok=True)
        (target / tile.name).symlink_to(tile)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """The smoke test's folder after its run."""
    folder = tmp_path_factory.mktemp("crc")
    sort_by_origin(shared_data / "tiles" / "crc", folder)
    (background,) = (folder / "held-out" / "BACK").iterdir()
    background.unlink()
    background.parent.rmdir()  # no CRC-VAL tile of that class is here
    weights = shared_data / "weights" / "squeezenet1_1_imagenet_features.pth"
    simulate(folder, "--encoder", "squeezenet1_1", "--weights", weights,
             "--queries", 1, "--rounds", 1, "--k", 3, "--seeds", 1)  # fmt: skip
    return folder


def journal_of(folder: Path) -> Journal:
    return read_journal(folder / "out" / "study-cnfp-0.ndjson")


def test_sessions_go_round_the_classes(small: Path):
    queries = [event.data["label"] for event in journal_of(small).events if event.type == "query"]
    assert len(queries) == 8
    assert len(set(queries)) == 8


def test_every_point_has_the_fields_of_the_tile_experiment(small: Path):
    result = json.loads((small / "out" / "result.json").read_text())
    (run,) = result["runs"]
    assert len(run["curve"]) == 8
    assert all(set(point) == TILE_FIELDS for point in run["curve"])
    assert [point["n_labels"] for point in run["curve"]] == [3, 6, 9, 12, 15, 18, 21, 24]
    assert set(result["summary"]["cnfp"]) == {"accuracy", "perfect_p10", "p10"}


def test_classes_of_fewer_than_eleven_tiles_have_no_p10(small: Path):
    result = json.loads((small / "out" / "result.json").read_text())
    last = result["runs"][0]["curve"][-1]
    assert (last["perfect_p10"], last["p10"]) == (None, None)
    assert 0 <= last["accuracy"] <= 1


def test_held_out_tiles_are_never_shown_nor_queried(small: Path):
    for event in journal_of(small).events:
        if event.type == "round_shown":
            assert {patch["slide"] for patch in event.data["patches"]} == {0}
        if event.type == "query":
            assert event.data["slide"] == 0


def test_tiles_leave_a_journal_and_curves_but_no_mask(small: Path):
    names = ["curves.png", "report.html", "result.json", "study-cnfp-0.ndjson"]
    assert left_in(small / "out") == names


def test_a_held_out_class_without_tiles_to_search_is_refused(tmp_path: Path, shared_data: Path):
    sort_by_origin(shared_data / "tiles" / "crc", tmp_path)
    outcome = slideloop("simulate", "--tiles", tmp_path / "search", "--held-out",
                        tmp_path / "held-out", "--weights", "random", "--out", tmp_path / "out",
                        "--workspace", tmp_path / "workspace")  # fmt: skip
    assert outcome.code == 2
    (sentence,) = outcome.complaints()
    assert sentence.startswith("slideloop: ")
    assert "has classes that" in sentence
    assert "BACK" in sentence
    assert left_in(tmp_path / "out") == []


# A real slide cut into tiles -----------------------------------------------------------------


def tile_labels(truth: Path) -> np.ndarray:
    """Class of each square of the truth by (row, column): 1 Tumor, 2 Normal, 0 nothing."""
    squares = {}
    for feature in json.loads(truth.read_text())["features"]:
        corner = np.array(feature["geometry"]["coordinates"][0]).min(0)
        column, row = np.rint(corner / PATCH).astype(int).tolist()
        squares[row, column] = feature["properties"]["classification"]["name"]
    grid = np.zeros(np.array(list(squares)).max(0) + 1, np.uint8)
    for cell, name in squares.items():
        grid[cell] = list(REGIONS).index(name) + 1
    return grid


def regions(grid: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Class and cells (row, column) of each of the 88 pieces laid on the canvas."""
    n, piece = cv2.connectedComponents((grid > 0).astype(np.uint8), connectivity=8)
    for number in range(1, n):
        cells = np.argwhere(piece == number)
        (label,) = set(grid[piece == number].tolist())
        yield list(REGIONS)[label - 1], cells


def export(shared_data: Path, folder: Path) -> None:
    """Write some tiles of each region; a third of the regions of each class is held out."""
    grid = tile_labels(shared_data / "truth" / "colon_regions.geojson")
    by_class: dict[str, list[np.ndarray]] = {name: [] for name in REGIONS}
    for name, cells in regions(grid):
        by_class[name].append(cells)
    rng = np.random.default_rng(0)
    with open_slide(shared_data / "slides" / "colon_regions.tif") as slide:
        for name, pieces in by_class.items():
            assert len(pieces) == REGIONS[name]
            held_out = set(rng.permutation(len(pieces))[: len(pieces) // 3].tolist())
            for number, cells in enumerate(pieces):
                part = "held-out" if number in held_out else "search"
                target = folder / part / name
                target.mkdir(parents=True, exist_ok=True)
                for row, column in rng.permutation(cells)[:TILES_PER_REGION].tolist():
                    tile = slide.read(column * PATCH, row * PATCH, PATCH, PATCH)
                    path = target / f"{number:02}-{row}-{column}.tif"
                    tifffile.imwrite(path, tile, photometric="rgb")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    folder = tmp_path_factory.mktemp("colon-tiles")
    export(shared_data, folder)
    simulate(folder, "--positive", "Tumor", "--queries", 3, "--seeds", 1, "--full-supervision",
             "--weights", shared_data / "weights" / "resnet18_standin.pth")  # fmt: skip
    return folder


def test_no_region_is_both_searched_and_held_out(real: Path):
    for name, n_regions in REGIONS.items():
        numbers = [
            {tile.name.split("-")[0] for tile in (real / part / name).iterdir()}
            for part in ("search", "held-out")
        ]
        assert not numbers[0] & numbers[1]
        assert [len(part) for part in numbers] == [n_regions - n_regions // 3, n_regions // 3]


def test_held_out_regions_are_told_apart(real: Path):
    (run,) = json.loads((real / "out" / "result.json").read_text())["runs"]
    last = run["curve"][-1]
    assert last["n_labels"] == 150
    assert last["accuracy"] >= 0.93
    assert last["p10"] >= 0.95
    assert last["perfect_p10"] >= 0.95


def test_full_supervision_is_a_regression_on_every_searched_tile(real: Path):
    stores = [open_store(path) for path in (real / "workspace" / "features").glob("*/")]
    stores.sort(key=len, reverse=True)
    features, labels = [], []
    for store, source in zip(stores, tile_sources(real / "search", real / "held-out"), strict=True):
        features.append(np.asarray(store.pooled[: len(store)], np.float32).astype(np.float64))
        labels.append(np.array([source.tiles[i].class_name for i in store.cells[:, 0]]))
    scaler = StandardScaler().fit(features[0])
    model = LogisticRegression(C=1 / len(labels[0]), max_iter=1000)
    model.fit(scaler.transform(features[0]), labels[0])
    accuracy = (model.predict(scaler.transform(features[1])) == labels[1]).mean()
    full = json.loads((real / "out" / "result.json").read_text())["full_supervision"]
    assert full["n_labels"] == len(labels[0])
    assert full["accuracy"] == pytest.approx(accuracy, abs=0.5 / len(labels[1]))
    assert full["accuracy"] > 0.95
    assert full["perfect_p10"] is not None


def test_most_is_learnt_after_one_session_of_each_class(real: Path):
    (run,) = json.loads((real / "out" / "result.json").read_text())["runs"]
    assert [point["n_labels"] for point in run["curve"]] == [25, 50, 75, 100, 125, 150]
    assert run["curve"][1]["accuracy"] >= 0.9


def test_each_class_gives_its_queries(real: Path):
    queries = [event.data["label"] for event in journal_of(real).events if event.type == "query"]
    assert Counter(queries) == {"Tumor": 3, "Normal": 3}
    assert queries[:2] == ["Tumor", "Normal"]
