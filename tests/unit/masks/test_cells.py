"""Cells, their pictures and their polygons."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import openslide
import pytest
import shapely
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from slideloop.errors import InvalidInputError, OutputError
from slideloop.masks.cells import (
    CellMask,
    cell_edges,
    components,
    to_png,
    to_tiff,
)

CLASSES = ("Tumor", "Normal")
PATCH = 8


def make_mask(label, probability=None, patch=PATCH, stride=None, width=None, height=None):
    label = np.asarray(label, dtype=np.int16)
    if probability is None:
        probability = np.where(label < 0, np.nan, 1.0)
    stride = stride or patch
    n_rows, n_columns = label.shape
    return CellMask(
        label=label,
        probability=np.asarray(probability, dtype=np.float32),
        classes=CLASSES,
        patch_px0=patch,
        stride_px0=stride,
        width=width or (n_columns - 1) * stride + patch,
        height=height or (n_rows - 1) * stride + patch,
    )


def cells_of(found, mask):
    """Draw polygons back onto the grid: the cells whose centre they contain."""
    n_rows, n_columns = mask.label.shape
    xs = cell_edges(n_columns, mask.patch_px0, mask.stride_px0, mask.width)
    ys = cell_edges(n_rows, mask.patch_px0, mask.stride_px0, mask.height)
    x, y = np.meshgrid((xs[:-1] + xs[1:]) / 2, (ys[:-1] + ys[1:]) / 2)
    label = np.full((n_rows, n_columns), -1)
    for component in found:
        label[shapely.contains_xy(component.polygon, x, y)] = CLASSES.index(component.class_name)
    return label


LABELS = hnp.arrays(
    np.int16,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.integers(-1, 1),
)


@given(LABELS, st.sampled_from([(8, 8), (8, 4), (8, 3), (8, 11)]))
@settings(deadline=None)
def test_cells_come_back_from_their_polygons(label, patch_and_stride):
    patch, stride = patch_and_stride
    mask = make_mask(label, patch=patch, stride=stride)
    assert np.array_equal(cells_of(components(mask, CLASSES), mask), label)


@given(LABELS)
@settings(deadline=None)
def test_every_polygon_is_valid_with_integer_vertices_and_the_area_of_its_cells(label):
    for component in components(make_mask(label), CLASSES):
        vertices = shapely.get_coordinates(component.polygon)
        assert component.polygon.geom_type == "Polygon"
        assert component.polygon.is_valid
        assert np.array_equal(vertices, np.rint(vertices))
        assert component.polygon.area == component.n_cells * PATCH**2


@given(LABELS)
@settings(deadline=None)
def test_polygons_of_one_class_share_no_side(label):
    found = components(make_mask(label), ["Tumor"])
    touching = sum(
        a.polygon.intersection(b.polygon).length
        for i, a in enumerate(found)
        for b in found[i + 1 :]
    )
    assert touching == 0


@given(LABELS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_component_has_the_mean_probability_of_its_cells(label, random):
    probability = np.array([[random.random() for _ in row] for row in label])
    mask = make_mask(label, probability)
    for component in components(mask, CLASSES):
        inside = cells_of([component], mask) >= 0
        expected = mask.probability[inside].mean(dtype=np.float64)
        assert component.probability == pytest.approx(expected)


def test_a_ring_of_cells_keeps_its_hole():
    label = np.zeros((3, 3))
    label[1, 1] = 1
    (ring,) = components(make_mask(label), ["Tumor"])
    assert len(ring.polygon.interiors) == 1
    assert ring.n_cells == 8


def test_cells_that_meet_at_a_corner_are_two_components():
    assert len(components(make_mask([[0, 1], [1, 0]]), ["Tumor"])) == 2


def test_a_straight_side_has_no_vertices_in_between():
    (row,) = components(make_mask([[0, 0, 0, 0]]), ["Tumor"])
    assert len(row.polygon.exterior.coords) == 5


def test_cells_below_the_threshold_are_left_out():
    mask = make_mask([[0, 0, 0]], [[0.9, 0.4, 0.9]])
    assert [c.n_cells for c in components(mask, ["Tumor"], threshold=0.5)] == [1, 1]


def test_black_cells_belong_to_no_polygon():
    assert components(make_mask([[-1, -1]]), CLASSES) == []


def test_a_class_the_mask_lacks_is_named():
    with pytest.raises(InvalidInputError, match="Stroma"):
        components(make_mask([[0]]), ["Stroma"])


def test_overlapping_patches_are_drawn_centred_with_the_side_of_the_stride():
    (cell,) = components(make_mask([[1, 0, 1]], patch=8, stride=4), ["Tumor"])
    assert cell.polygon.bounds == (6, 2, 10, 6)


def test_cells_of_a_stride_above_the_patch_end_at_the_slide():
    (cell,) = components(make_mask([[0, 0]], patch=8, stride=12), ["Tumor"])
    assert cell.polygon.bounds == (0, 0, 20, 8)


def test_twelve_thousand_scattered_cells_become_polygons_within_a_second():
    label = np.random.default_rng(0).integers(0, 2, (100, 125))
    mask = make_mask(label, patch=256)
    began = time.perf_counter()
    components(mask, CLASSES)
    assert time.perf_counter() - began < 1


def test_the_png_has_one_green_pixel_per_positive_cell():
    picture = np.asarray(Image.open(io.BytesIO(to_png(make_mask([[0, 1, -1]]), "Tumor"))))
    assert picture.tolist() == [[[0, 255, 0], [0, 0, 0], [0, 0, 0]]]


@pytest.fixture
def tiff_mask():
    rng = np.random.default_rng(0)
    return make_mask(rng.integers(-1, 2, (7, 11)), patch=100, width=1145, height=738)


def test_the_tiff_has_the_size_of_the_slide_and_the_colours_of_the_cells(tiff_mask, tmp_path: Path):
    path = tmp_path / "mask.tiff"
    to_tiff(tiff_mask, path, "Tumor", mpp=0.5)
    picture = tifffile.imread(path, key=0)
    assert picture.shape == (738, 1145, 3)
    green = np.kron(tiff_mask.label == 0, np.ones((100, 100), bool))
    assert np.array_equal(picture[:700, :1100, 1] == 255, green)
    assert not picture[..., [0, 2]].any()
    assert not picture[700:].any()
    assert not picture[:, 1100:].any()


def test_the_tiff_is_a_tiled_pyramid_that_openslide_opens(tiff_mask, tmp_path: Path):
    path = tmp_path / "mask.tiff"
    to_tiff(tiff_mask, path, "Tumor", mpp=0.5)
    with openslide.OpenSlide(path) as slide:
        assert slide.level_dimensions == ((1145, 738), (573, 369), (287, 185), (144, 93))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5, rel=1e-4)


def test_a_lower_level_shows_the_same_cells(tiff_mask, tmp_path: Path):
    path = tmp_path / "mask.tiff"
    to_tiff(tiff_mask, path, "Tumor", mpp=None)
    full, half = tifffile.imread(path, key=0), tifffile.imread(path, key=1)
    assert np.array_equal(half[:369, :572], full[1::2, 1::2][:369, :572])


def test_an_unknown_mpp_leaves_no_resolution_in_the_tiff(tiff_mask, tmp_path: Path):
    path = tmp_path / "mask.tiff"
    to_tiff(tiff_mask, path, "Tumor", mpp=None)
    with openslide.OpenSlide(path) as slide:
        assert "openslide.mpp-x" not in slide.properties


def test_a_folder_that_is_not_there_is_a_named_error_and_leaves_nothing(tiff_mask, tmp_path: Path):
    with pytest.raises(OutputError, match=r"mask\.tiff"):
        to_tiff(tiff_mask, tmp_path / "none" / "mask.tiff", "Tumor", mpp=None)
    assert list(tmp_path.iterdir()) == []
