"""Truth from GeoJSON and mask images, and its checks."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image

from slideloop.errors import TruthError
from slideloop.evaluation.truth import annotated_area, read_truth
from slideloop.masks.cells import CellMask, to_tiff


def square(x, y, side):
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def feature(ring, name="Tumor", kind="Polygon"):
    coordinates = ring if kind == "LineString" else [ring]
    properties = {} if name is None else {"classification": {"name": name}}
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


@pytest.fixture
def write(tmp_path: Path):
    def write_features(*features):
        path = tmp_path / "truth.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return path

    return write_features


@pytest.fixture
def write_mask(tmp_path: Path):
    def write_image(pixels, name="mask.png"):
        path = tmp_path / name
        Image.fromarray(pixels).save(path)
        return path

    return write_image


def test_regions_of_one_class_are_joined(write):
    truth = read_truth(write(feature(square(0, 0, 4)), feature(square(4, 0, 4))), "Tumor", 20, 20)
    assert truth.regions["Tumor"].equals(shapely.box(0, 0, 8, 4))


def test_classes_come_in_the_order_of_the_file(write):
    path = write(feature(square(0, 0, 4), "Stroma"), feature(square(8, 0, 4), "Tumor"))
    assert read_truth(path, "Tumor", 20, 20).classes == ("Stroma", "Tumor")


def test_the_outside_class_is_other_unless_named(write):
    path = write(feature(square(0, 0, 4)))
    assert read_truth(path, "Tumor", 20, 20).outside == "Other"
    assert read_truth(path, "Tumor", 20, 20, outside="Normal").outside == "Normal"


def test_the_outside_class_may_be_the_positive_one(write):
    truth = read_truth(write(feature(square(0, 0, 4))), "Normal", 20, 20, outside="Normal")
    assert annotated_area(truth, "Normal") == 400 - 16


def test_unclassified_and_starred_objects_are_no_annotation(write):
    path = write(
        feature(square(0, 0, 4)),
        feature(square(0, 0, 9), None),
        feature(square(0, 0, 9), "Region*"),
    )
    assert read_truth(path, "Tumor", 20, 20).classes == ("Tumor",)


def test_a_truth_without_the_positive_class_lists_the_ones_it_has(write):
    path = write(feature(square(0, 0, 4), "Stroma"), feature(square(9, 0, 4), "Necrosis"))
    with pytest.raises(TruthError, match=r"'Tumor'.*'Stroma', 'Necrosis'"):
        read_truth(path, "Tumor", 20, 20)


def test_a_truth_without_any_class_says_so(write):
    with pytest.raises(TruthError, match="none at all"):
        read_truth(write(feature(square(0, 0, 4), None)), "Tumor", 20, 20)


def test_a_bow_tie_is_refused_with_its_number_and_place(write):
    bow_tie = [[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]
    with pytest.raises(TruthError, match=r"Feature 2 .*Self-intersection\[2 2\]"):
        read_truth(write(feature(square(8, 8, 4)), feature(bow_tie)), "Tumor", 20, 20)


def test_a_truth_of_another_slides_size_names_both_sizes(write):
    with pytest.raises(TruthError, match=r"\(400, 0\) to \(500, 100\).*300 x 200"):
        read_truth(write(feature(square(400, 0, 100))), "Tumor", 300, 200)


def test_a_stroke_a_little_over_the_edge_is_cut_off(write):
    truth = read_truth(write(feature(square(-2, -2, 52))), "Tumor", 300, 200)
    assert annotated_area(truth, "Tumor") == 2500


def test_a_line_is_refused_with_its_number(write):
    with pytest.raises(TruthError, match=r"Feature 1 .*LineString"):
        read_truth(write(feature([[0, 0], [4, 4]], kind="LineString")), "Tumor", 20, 20)


def test_a_polygon_without_area_is_refused_with_its_number(write):
    flat = [[0, 0], [4, 0], [8, 0], [0, 0]]
    with pytest.raises(TruthError, match="Feature 1"):
        read_truth(write(feature(flat)), "Tumor", 20, 20)


def test_broken_json_is_a_truth_error(tmp_path: Path):
    path = tmp_path / "truth.json"
    path.write_text("{")
    with pytest.raises(TruthError, match=r"truth\.json"):
        read_truth(path, "Tumor", 20, 20)


def test_a_missing_file_is_a_truth_error(tmp_path: Path):
    with pytest.raises(TruthError, match="no truth file"):
        read_truth(tmp_path / "none.geojson", "Tumor", 20, 20)


def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path):
    path = tmp_path / "truth.csv"
    path.write_text("")
    with pytest.raises(TruthError, match=r"\.geojson"):
        read_truth(path, "Tumor", 20, 20)


def test_the_colon_truth_has_its_tiles(shared_data: Path):
    path = shared_data / "truth" / "colon_regions.geojson"
    truth = read_truth(path, "Tumor", 12_768, 15_232)
    assert annotated_area(truth, "Tumor") == 884 * 224**2
    assert annotated_area(truth, "Normal") == 792 * 224**2


def test_the_tumour_outlined_for_the_examples_fits_its_slide():
    examples = Path(__file__).resolve().parents[3] / "examples"
    truth = read_truth(examples / "tcga-cr-7395-tumour.geojson", "Tumor", 4443, 3567)
    assert truth.classes == ("Tumor",)


@pytest.mark.parametrize("name", ["mask.png", "mask.tif", "mask.bmp"])
def test_a_mask_image_of_another_scale_is_positive_where_it_is_not_zero(write_mask, name):
    pixels = np.zeros((10, 15), dtype=np.uint8)
    pixels[2:4, 5:9] = 1
    truth = read_truth(write_mask(pixels, name), "Tumor", 300, 200)
    assert truth.regions["Tumor"].equals(shapely.box(100, 40, 180, 80))


@pytest.mark.parametrize("channels", [3, 4])
def test_any_colour_but_black_is_positive_and_transparency_is_not_looked_at(write_mask, channels):
    pixels = np.zeros((10, 15, channels), dtype=np.uint8)
    pixels[..., 3:] = 255
    pixels[0, 0, 2] = 9
    truth = read_truth(write_mask(pixels), "Tumor", 300, 200)
    assert annotated_area(truth, "Tumor") == 400


def test_a_palette_is_judged_by_its_colours(tmp_path: Path):
    image = Image.new("P", (15, 10), 1)
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "mask.png")
    truth = read_truth(tmp_path / "mask.png", "Tumor", 300, 200)
    assert annotated_area(truth, "Tumor") == 400


def test_a_one_bit_mask_is_read(tmp_path: Path):
    Image.new("1", (15, 10), 1).save(tmp_path / "mask.png")
    truth = read_truth(tmp_path / "mask.png", "Tumor", 300, 200)
    assert annotated_area(truth, "Tumor") == 300 * 200


def test_a_mask_keeps_holes_and_corners(write_mask):
    pixels = np.ones((10, 15), dtype=np.uint8)
    pixels[2, 2] = pixels[3, 3] = 0
    truth = read_truth(write_mask(pixels), "Tumor", 300, 200)
    assert truth.regions["Tumor"].is_valid
    assert annotated_area(truth, "Tumor") == 300 * 200 - 2 * 400


def test_a_mask_may_miss_the_slides_shape_by_rounding(write_mask):
    pixels = np.ones((57, 100), dtype=np.uint8)
    truth = read_truth(write_mask(pixels), "Tumor", 1000, 567)
    assert annotated_area(truth, "Tumor") == pytest.approx(1000 * 567)


def test_a_mask_of_another_shape_names_both_sizes(write_mask):
    with pytest.raises(TruthError, match=r"15 x 10 .* 300 x 300"):
        read_truth(write_mask(np.ones((10, 15), dtype=np.uint8)), "Tumor", 300, 300)


def test_an_empty_mask_has_no_positive_class(write_mask):
    with pytest.raises(TruthError, match="'Tumor'"):
        read_truth(write_mask(np.zeros((10, 15), dtype=np.uint8)), "Tumor", 300, 200)


def test_a_jpeg_is_refused_as_a_mask(tmp_path: Path):
    path = tmp_path / "mask.png"
    Image.new("L", (15, 10)).save(path, format="JPEG")
    with pytest.raises(TruthError, match="JPEG"):
        read_truth(path, "Tumor", 300, 200)


def test_what_is_no_image_is_refused_as_a_mask(tmp_path: Path):
    path = tmp_path / "mask.png"
    path.write_bytes(b"no image")
    with pytest.raises(TruthError, match=r"mask\.png"):
        read_truth(path, "Tumor", 300, 200)


def test_a_mask_cut_short_is_refused(write_mask):
    path = write_mask(np.random.default_rng(0).integers(0, 255, (100, 150), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(TruthError, match="cannot be read"):
        read_truth(path, "Tumor", 300, 200)


def test_a_mask_with_a_giant_header_is_refused_before_it_is_decoded(tmp_path: Path, write_mask):
    path = write_mask(np.ones((10, 15), dtype=np.uint8))
    raw = bytearray(path.read_bytes())
    raw[16:24] = (60_000).to_bytes(4, "big") + (40_000).to_bytes(4, "big")
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    path.write_bytes(raw)
    with pytest.raises(TruthError, match="pixels"):
        read_truth(path, "Tumor", 300, 200)


def test_the_masks_that_slideloop_writes_are_read_as_truth(tmp_path: Path):
    label = np.array([[0, -1, 1], [1, 0, 0]], dtype=np.int16)
    mask = CellMask(label, np.ones((2, 3), np.float32), ("Tumor", "Normal"), 300, 300, 900, 600)
    to_tiff(mask, tmp_path / "mask.tiff", "Tumor", mpp=0.5)
    truth = read_truth(tmp_path / "mask.tiff", "Tumor", 900, 600)
    assert annotated_area(truth, "Tumor") == 3 * 300**2
