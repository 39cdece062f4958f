from __future__ import annotations

import numpy as np
import pytest
import shapely
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import shape

from slideloop.errors import InvalidInputError, OutputError
from slideloop.evaluation.generated import (
    ADIPOSE,
    GLASS,
    LYMPHOID,
    STROMA,
    TISSUE_NAMES,
    TUMOUR,
    Scene,
    truth_geojson,
    write_slide,
)

SCENE = Scene(seed=3, width=2300, height=1500)


@pytest.fixture(scope="module")
def pixels():
    return SCENE.pixels(0, 0, SCENE.width, SCENE.height)


@pytest.fixture(scope="module")
def tissue():
    return SCENE.tissue(0, 0, SCENE.width, SCENE.height)


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = tmp_path_factory.mktemp("generated") / "slide.tif"
    write_slide(SCENE, path, compression="deflate", mpp=0.25)
    return path


@settings(max_examples=25, deadline=None)
@given(x=st.integers(0, 2200), y=st.integers(0, 1400), w=st.integers(1, 99), h=st.integers(1, 99))
def test_a_pixel_is_the_same_in_whatever_rectangle_it_is_read(pixels, x, y, w, h):
    assert np.array_equal(SCENE.pixels(x, y, w, h)[: 1500 - y], pixels[y : y + h, x : x + w])


def test_pixels_do_not_depend_on_what_was_read_before(pixels):
    from slideloop.evaluation import histology, tissue_layout

    for cache in (histology.pixel_block, histology.tissue_block, tissue_layout.regions):
        cache.cache_clear()
    assert np.array_equal(SCENE.pixels(1000, 700, 300, 300), pixels[700:1000, 1000:1300])


def test_two_seeds_give_two_slides(pixels):
    other = Scene(seed=4, width=2300, height=1500).pixels(0, 0, 2300, 1500)
    assert (other != pixels).any(axis=2).mean() > 0.5


def test_every_tissue_and_glass_occur(tissue):
    shares = np.bincount(tissue.ravel(), minlength=5) / tissue.size
    assert shares.min() > 0.03


def test_around_the_slide_is_glass():
    assert (SCENE.tissue(-500, -500, 400, 400) == GLASS).all()


def test_glass_is_white(pixels, tissue):
    # Nuclei at the rim of the section reach a little over the glass.
    assert (pixels[tissue == GLASS].min(axis=1) > 210).mean() > 0.98


def test_blocks_join_without_a_seam():
    steps = np.abs(np.diff(Scene(0).pixels(3584, 2560, 1024, 1024).astype(int), axis=1))
    per_column = steps.mean(axis=(0, 2))
    assert per_column[511] < 1.3 * np.median(per_column)


def test_tumour_and_lymphoid_tissue_have_like_colours_and_unlike_texture():
    scene = Scene(0)
    patches = {TUMOUR: [], LYMPHOID: []}
    for y in range(0, 3072, 256):
        for x in range(0, scene.width, 256):
            labels = scene.tissue(x, y, 256, 256)
            for wanted, found in patches.items():
                if (labels == wanted).all():
                    found.append(scene.pixels(x, y, 256, 256).astype(float).mean(axis=2))
    tumour, lymphoid = (np.stack(found) for found in patches.values())
    assert abs(tumour.mean() - lymphoid.mean()) < 30

    def coarseness(grey):
        """Share of the variance that averaging over 8 x 8 pixels leaves."""
        blocks = grey.reshape(len(grey), 32, 8, 32, 8).mean(axis=(2, 4))
        return blocks.var(axis=(1, 2)) / grey.var(axis=(1, 2))

    assert np.quantile(coarseness(tumour), 0.1) > np.quantile(coarseness(lymphoid), 0.9)


def test_stroma_is_pink_and_fat_is_empty(pixels, tissue):
    red, green, blue = pixels[tissue == STROMA].mean(axis=0)
    assert red > blue > green
    assert (pixels[tissue == ADIPOSE].min(axis=1) > 210).mean() > 0.5


@pytest.mark.parametrize("reader", ["tiffslide", "openslide"])
def test_both_readers_see_the_same_levels_and_the_scene_s_pixels(slide, pixels, reader):
    if reader == "tiffslide":
        from tiffslide import TiffSlide as Slide
    else:
        from openslide import OpenSlide as Slide
    with Slide(slide) as opened:
        assert opened.level_dimensions == ((2300, 1500), (575, 375))
        region = np.asarray(opened.read_region((900, 900), 0, (300, 200)).convert("RGB"))
    assert np.array_equal(region, pixels[900:1100, 900:1200])


def test_the_reduced_level_is_the_average(slide, pixels):
    with tifffile.TiffFile(slide) as tiff:
        reduced = tiff.pages[1].asarray()
    averaged = pixels.reshape(375, 4, 575, 4, 3).mean(axis=(1, 3))
    assert np.abs(reduced - averaged).max() <= 0.51


def test_um_per_pixel_is_written(slide):
    with tifffile.TiffFile(slide) as tiff:
        first, second = (page.get_resolution("MICROMETER")[0] for page in tiff.pages)
    assert 1 / first == pytest.approx(0.25)
    assert 1 / second == pytest.approx(1.0)


def test_um_per_pixel_can_be_left_out(tmp_path):
    write_slide(Scene(0, 300, 200), tmp_path / "slide.tif", mpp=None)
    with tifffile.TiffFile(tmp_path / "slide.tif") as tiff:
        assert "XResolution" not in tiff.pages[0].tags or tiff.pages[0].resolutionunit == 1


def test_jpeg_stays_close_to_the_scene(tmp_path, pixels):
    write_slide(SCENE, tmp_path / "slide.tif")
    with tifffile.TiffFile(tmp_path / "slide.tif") as tiff:
        read = tiff.pages[0].asarray()
    assert np.abs(read.astype(int) - pixels).mean() < 4


def test_the_number_of_levels_can_be_given(tmp_path):
    write_slide(Scene(0, 300, 200), tmp_path / "slide.tif", levels=3, tile=64)
    with tifffile.TiffFile(tmp_path / "slide.tif") as tiff:
        assert [page.shape[:2] for page in tiff.pages] == [(200, 300), (50, 75), (12, 18)]


def test_only_the_finished_slide_is_left(slide):
    assert [path.name for path in slide.parent.iterdir()] == ["slide.tif"]


def test_the_truth_agrees_with_the_tissue(tissue):
    outlines = {
        feature["properties"]["classification"]["name"]: shape(feature["geometry"])
        for feature in truth_geojson(SCENE)["features"]
    }
    assert set(outlines) == set(TISSUE_NAMES.values())
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, SCENE.width, 4000), rng.integers(0, SCENE.height, 4000)
    for label, name in TISSUE_NAMES.items():
        inside = shapely.contains_xy(outlines[name], x + 0.5, y + 0.5)
        assert (inside == (tissue[y, x] == label)).mean() > 0.993


def test_the_truth_is_valid_and_inside_the_slide():
    slide = shapely.box(0, 0, SCENE.width, SCENE.height)
    for feature in truth_geojson(SCENE)["features"]:
        geometry = shape(feature["geometry"])
        assert geometry.is_valid
        assert slide.covers(geometry)


def test_tissues_of_the_truth_do_not_overlap():
    outlines = [shape(feature["geometry"]) for feature in truth_geojson(SCENE)["features"]]
    overlap = sum(outline.area for outline in outlines) - shapely.union_all(outlines).area
    assert overlap < 0.005 * SCENE.width * SCENE.height


def test_the_truth_keeps_holes():
    geometries = [shape(feature["geometry"]) for feature in truth_geojson(Scene(0))["features"]]
    assert any(part.interiors for whole in geometries for part in shapely.get_parts(whole))


def test_truth_objects_have_what_qupath_asks_for():
    for feature in truth_geojson(SCENE)["features"]:
        assert feature["properties"]["objectType"] == "annotation"
        assert len(feature["properties"]["classification"]["color"]) == 3


@pytest.mark.parametrize("size", [(0, 10), (10, -1)])
def test_a_scene_without_pixels_is_refused(size):
    with pytest.raises(InvalidInputError, match="no pixels"):
        Scene(0, *size)


def test_a_negative_seed_is_refused():
    with pytest.raises(InvalidInputError, match="seed"):
        Scene(-1)


@pytest.mark.parametrize("wrong", [{"tile": 100}, {"compression": "zip"}, {"levels": 0}])
def test_a_layout_that_makes_no_sense_is_refused(tmp_path, wrong):
    with pytest.raises(InvalidInputError):
        write_slide(Scene(0, 300, 200), tmp_path / "slide.tif", **wrong)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OutputError, match="nowhere"):
        write_slide(Scene(0, 300, 200), tmp_path / "nowhere" / "slide.tif")
