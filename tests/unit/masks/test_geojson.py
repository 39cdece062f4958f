"""QuPath's GeoJSON, both ways."""

from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slideloop.errors import GeometryError, InvalidInputError, OutputError
from slideloop.masks.cells import CellMask, components
from slideloop.masks.colours import colour_of
from slideloop.masks.geojson import (
    mask_features,
    object_id,
    parse_geojson,
    read_geojson,
    write_geojson,
)

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]}


def make_mask(label, classes=("Tumor", "Normal"), probability=None, stride=8):
    label = np.asarray(label, dtype=np.int16)
    if probability is None:
        probability = np.where(label < 0, np.nan, 0.75)
    n_rows, n_columns = label.shape
    return CellMask(
        label,
        np.asarray(probability, dtype=np.float32),
        classes,
        8,
        stride,
        (n_columns - 1) * stride + 8,
        (n_rows - 1) * stride + 8,
    )


def feature(geometry=None, **properties):
    return {"type": "Feature", "geometry": geometry or SQUARE, "properties": properties}


def parsed(content):
    return parse_geojson(json.dumps(content), "x.geojson")


def test_a_feature_has_all_that_qupath_and_slideloop_need():
    (written,) = mask_features(make_mask([[0, -1]]), "study-1", ["Tumor"])["features"]
    assert written["properties"] == {
        "objectType": "detection",
        "name": "slideloop/study-1",
        "classification": {"name": "Tumor", "color": [200, 0, 0]},
        "measurements": {"slideloop probability": 0.75},
    }
    assert uuid.UUID(written["id"]).version == 5


@pytest.mark.parametrize(
    ("kind", "object_type"),
    [("detections", "detection"), ("annotations", "annotation"), ("tiles", "tile")],
)
def test_each_kind_has_its_object_type(kind, object_type):
    (written,) = mask_features(make_mask([[0]]), "s", ["Tumor"], kind)["features"]
    assert written["properties"]["objectType"] == object_type


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInputError, match="annotations"):
        mask_features(make_mask([[0]]), "s", ["Tumor"], "cells")  # type: ignore[arg-type]


def test_tiles_are_one_square_per_patch():
    written = mask_features(make_mask([[0, 0]], stride=4), "s", ["Tumor"], "tiles")
    bounds = [shapely.geometry.shape(f["geometry"]).bounds for f in written["features"]]
    assert bounds == [(0, 0, 8, 8), (4, 0, 12, 8)]


def test_the_threshold_holds_for_tiles_too():
    mask = make_mask([[0, 0]], probability=[[0.4, 0.6]])
    assert len(mask_features(mask, "s", ["Tumor"], "tiles", threshold=0.5)["features"]) == 1


def test_a_derived_class_is_written_as_names():
    mask = make_mask([[0]], classes=("Tumor: Invasive", "Normal"))
    (written,) = mask_features(mask, "s", ["Tumor: Invasive"])["features"]
    assert written["properties"]["classification"]["names"] == ["Tumor", "Invasive"]


def test_a_probability_that_is_no_number_is_left_out():
    mask = make_mask([[0]], probability=[[np.nan]])
    (written,) = mask_features(mask, "s", ["Tumor"])["features"]
    assert "measurements" not in written["properties"]


def test_the_id_does_not_depend_on_start_or_direction_of_the_ring():
    one = shapely.Polygon([(0, 0), (4, 0), (4, 4), (0, 4)])
    other = shapely.Polygon([(4, 4), (4, 0), (0, 0), (0, 4)])
    assert object_id("s", "Tumor", one) == object_id("s", "Tumor", other)


def test_the_id_changes_with_study_class_and_geometry():
    square, larger = shapely.box(0, 0, 4, 4), shapely.box(0, 0, 5, 4)
    ids = {
        object_id("s", "Tumor", square),
        object_id("t", "Tumor", square),
        object_id("s", "Normal", square),
        object_id("s", "Tumor", larger),
    }
    assert len(ids) == 4


def test_the_id_stays_the_same_in_later_versions():
    expected = uuid.UUID("3b8e9508-b9c9-517e-ae08-a34df64e5ec2")
    assert object_id("s", "Tumor", shapely.box(0, 0, 4, 4)) == expected


def test_an_unknown_class_gets_the_same_colour_everywhere():
    assert colour_of("Polyp") == (48, 120, 191)


@given(
    hnp.arrays(
        np.int16, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(-1, 1)
    )
)
@settings(deadline=None)
def test_a_mask_comes_back_from_its_geojson(label):
    mask = make_mask(label)
    read = parsed(mask_features(mask, "s", mask.classes))
    expected = components(mask, mask.classes)
    assert [f.class_name for f in read] == [c.class_name for c in expected]
    assert all(f.geometry.equals(c.polygon) for f, c in zip(read, expected, strict=True))
    assert all(f.object_id == str(object_id("s", f.class_name or "", f.geometry)) for f in read)


@pytest.mark.parametrize("name", ["mask.geojson", "mask.geojson.gz"])
def test_a_written_file_is_read_again(tmp_path: Path, name):
    write_geojson(mask_features(make_mask([[0, 1]]), "s", ["Tumor"]), tmp_path / name)
    (read,) = read_geojson(tmp_path / name)
    assert (read.number, read.class_name, read.name) == (1, "Tumor", "slideloop/s")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_folder_that_is_not_there_is_a_named_error(tmp_path: Path):
    with pytest.raises(OutputError, match=r"m\.geojson"):
        write_geojson(
            mask_features(make_mask([[0]]), "s", ["Tumor"]), tmp_path / "no" / "m.geojson"
        )


@pytest.mark.parametrize(
    "content",
    [{"type": "FeatureCollection", "features": [feature()]}, [feature()], feature()],
    ids=["collection", "list", "feature"],
)
def test_collection_list_and_single_feature_are_read(content):
    assert [f.number for f in parsed(content)] == [1]


@pytest.mark.parametrize(
    ("classification", "expected"),
    [
        ("Tumor", "Tumor"),
        ({"name": "Tumor", "color": [1, 2, 3]}, "Tumor"),
        ({"name": "Tumor"}, "Tumor"),
        ({"names": ["Tumor", "Invasive"]}, "Tumor: Invasive"),
        ("Tumor:Invasive", "Tumor: Invasive"),
        (None, None),
        ({}, None),
    ],
)
def test_a_classification_is_read_in_every_form(classification, expected):
    assert parsed([feature(classification=classification)])[0].class_name == expected


def test_a_missing_classification_is_no_class():
    assert parsed([feature()])[0].class_name is None


def test_a_doubled_key_does_no_harm():
    text = (
        '{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},'
        '"properties":{"metadata":{"a":1},"metadata":{"a":1}}}'
    )
    assert parse_geojson(text, "x")[0].geometry.geom_type == "Point"


def test_a_byte_order_mark_does_no_harm():
    assert len(parse_geojson(b"\xef\xbb\xbf" + json.dumps([feature()]).encode(), "x")) == 1


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_words_that_are_no_json_numbers_are_refused(word):
    with pytest.raises(GeometryError, match=word):
        parse_geojson(json.dumps([feature()]).replace("4", word), "x")


def test_a_number_too_large_for_a_float_is_refused_with_its_feature():
    with pytest.raises(GeometryError, match=r"Feature 2 of x .*finite"):
        parse_geojson(
            f"[{json.dumps(feature())},{json.dumps(feature()).replace('4', '1e999')}]", "x"
        )


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        {"type": "Polygon"},
        {"type": "Polygon", "coordinates": 7},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, "a"], [2, 2]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [None, 1], [2, 2]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 10**400], [2, 2]]]},
        {"type": "Circle", "coordinates": []},
        {"type": 3},
    ],
)
def test_a_geometry_that_cannot_be_read_names_its_feature(geometry):
    with pytest.raises(GeometryError, match="Feature 2 of"):
        parsed([feature(), {"type": "Feature", "geometry": geometry, "properties": {}}])


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "3", '{"type":"Topology"}', '"a"'])
def test_what_is_no_geojson_is_one_sentence(text):
    with pytest.raises(GeometryError, match=r"x\.geojson"):
        parse_geojson(text, "x.geojson")


def test_a_file_that_unpacks_beyond_the_limit_is_refused(tmp_path: Path):
    path = tmp_path / "bomb.geojson.gz"
    path.write_bytes(gzip.compress(b" " * 100_000))
    with pytest.raises(GeometryError, match="more than 1000 bytes"):
        read_geojson(path, max_bytes=1000)


def test_a_damaged_gzip_is_one_sentence(tmp_path: Path):
    path = tmp_path / "x.geojson.gz"
    path.write_bytes(gzip.compress(b"[]" * 1000)[:-9])
    with pytest.raises(GeometryError, match="cannot be read"):
        read_geojson(path)


def test_the_colon_truth_is_read(shared_data: Path):
    assert len(read_geojson(shared_data / "truth" / "colon_regions.geojson")) == 1676
