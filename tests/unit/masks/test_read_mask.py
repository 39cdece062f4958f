"""Masks of ours read back from files, which others may have edited."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from slideloop.errors import GeometryError
from slideloop.masks.cells import CellMask
from slideloop.masks.geojson import (
    KINDS,
    MaskFile,
    for_entry,
    mask_features,
    object_id,
    read_mask,
    write_geojson,
)

CLASSES = ("Tumor: Invasive", "腫瘍なし")


@pytest.fixture
def mask() -> CellMask:
    rng = np.random.default_rng(0)
    label = rng.integers(-1, 2, (7, 9)).astype(np.int16)
    probability = np.where(label < 0, np.nan, rng.uniform(0.5, 1, label.shape))
    return CellMask(label, probability.astype(np.float32), CLASSES, 100, 96, 864, 672)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["geojson", "geojson.gz"])
def test_what_was_written_is_read(tmp_path: Path, mask: CellMask, kind: Any, ending: str) -> None:
    collection = mask_features(mask, "s", CLASSES, kind)
    write_geojson(collection, tmp_path / f"m.{ending}")
    assert read_mask(tmp_path / f"m.{ending}") == MaskFile("s", kind, collection["features"])


def _edited(tmp_path: Path, mask: CellMask, **changes: Any) -> Path:
    """Write a mask whose first feature was changed by hand."""
    collection = mask_features(mask, "s", CLASSES)
    first = collection["features"][0]
    first["geometry"] = changes.pop("geometry", first["geometry"])
    first["properties"] |= changes
    path = tmp_path / "m.geojson"
    path.write_text(json.dumps(collection), "utf-8")
    return path


def found(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """Study and features of a mask."""
    mask = read_mask(path)
    assert mask is not None
    return mask.study, mask.features


def test_a_mask_says_for_which_image_of_which_project_it_was_made(
    tmp_path: Path, mask: CellMask
) -> None:
    collection = for_entry(mask_features(mask, "s", CLASSES), 1748867913691, "7")
    write_geojson(collection, tmp_path / "m.geojson")
    read = read_mask(tmp_path / "m.geojson")
    assert read == MaskFile("s", "detections", collection["features"], 1748867913691, "7")


@pytest.mark.parametrize("said", [None, [], {"project": "x", "entry": 7}])
def test_what_is_said_of_the_image_otherwise_does_not_count(
    tmp_path: Path, mask: CellMask, said: Any
) -> None:
    collection = mask_features(mask, "s", CLASSES) | {"slideloop": said}
    write_geojson(collection, tmp_path / "m.geojson")
    read = read_mask(tmp_path / "m.geojson")
    assert read == MaskFile("s", "detections", collection["features"])


def test_an_outline_that_crosses_itself_becomes_areas_with_ids_of_their_own(
    tmp_path: Path, mask: CellMask
) -> None:
    tie = [[[0, 0], [96, 96], [96, 0], [0, 96], [0, 0]]]
    path = _edited(tmp_path, mask, geometry={"type": "Polygon", "coordinates": tie})
    study, features = found(path)
    n_before = len(mask_features(mask, "s", CLASSES)["features"])
    assert len(features) == n_before + 1
    for each in features:
        shape = shapely.geometry.shape(each["geometry"])
        assert shape.is_valid
        names = each["properties"]["classification"]
        name = names.get("name") or ": ".join(names["names"])
        assert each["id"] == str(object_id(study, name, shape))


def test_no_area_is_lost_where_a_line_is_left_beside_it(tmp_path: Path, mask: CellMask) -> None:
    spiked = [[0, 0], [96, 96], [96, 0], [0, 96], [0, 150], [0, 96], [0, 0]]
    mended = shapely.make_valid(shapely.Polygon(spiked))
    assert [part.geom_type for part in mended.geoms] == ["MultiPolygon", "LineString"]
    path = _edited(tmp_path, mask, geometry={"type": "Polygon", "coordinates": [spiked]})
    _, features = found(path)
    areas = sum(shapely.geometry.shape(each["geometry"]).area for each in features[:2])
    assert areas == mended.area


def test_measurements_are_read_in_both_forms_of_qupaths(tmp_path: Path, mask: CellMask) -> None:
    listed = [{"name": "x", "value": 1}, {"name": "slideloop probability", "value": 0.75}]
    _, features = found(_edited(tmp_path, mask, measurements=listed))
    assert features[0]["properties"]["measurements"] == {"slideloop probability": 0.75}
    edited = _edited(tmp_path, mask, measurements=[math.pi, None])
    _, features = found(edited)
    assert "measurements" not in features[0]["properties"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "slideloop/another"}, "not one mask of one study"),
        ({"name": None}, "not one mask of one study"),
        ({"objectType": "cell"}, "not one mask of one study"),
        ({"classification": None}, "has no class"),
        ({"geometry": {"type": "LineString", "coordinates": [[0, 0], [9, 9]]}}, "is no area"),
    ],
)
def test_what_is_no_mask_is_said(
    tmp_path: Path, mask: CellMask, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(GeometryError, match=words):
        read_mask(_edited(tmp_path, mask, **changes))


def test_a_mask_without_objects_says_nothing(tmp_path: Path) -> None:
    write_geojson({"type": "FeatureCollection", "features": []}, tmp_path / "m.geojson")
    assert read_mask(tmp_path / "m.geojson") is None


def test_objects_of_others_are_refused(tmp_path: Path, mask: CellMask) -> None:
    collection = mask_features(mask, "s", CLASSES)
    for each in collection["features"]:
        each["properties"]["name"] = "by hand"
    path = tmp_path / "m.geojson"
    write_geojson(collection, path)
    with pytest.raises(GeometryError, match="not a mask of slideloop"):
        read_mask(path)
