"""Bounds, white surroundings and scaling, on a slide in memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.slide_files import ArrayReader, pixels_at, whole

from slideloop.slides import pyramid
from slideloop.slides.openslide_reader import shown_area
from slideloop.slides.pyramid import on_white

WIDTH, HEIGHT = 400, 300


def bounds(x: int, y: int, width: int, height: int) -> dict[str, str]:
    sides = {"x": x, "y": y, "width": width, "height": height}
    return {f"openslide.bounds-{side}": str(value) for side, value in sides.items()}


def test_without_bounds_the_whole_slide_is_shown():
    assert shown_area({}, 1000, 800) == (0, 0, 1000, 800)


def test_bounds_shift_and_shrink_the_slide():
    assert shown_area(bounds(100, 50, 600, 500), 1000, 800) == (100, 50, 600, 500)


@pytest.mark.parametrize("size", [(1000, 500), (600, 800), (1000, 800)])
def test_bounds_that_keep_a_side_shift_without_shrinking(size):
    assert shown_area(bounds(100, 50, *size), 1000, 800) == (100, 50, 1000, 800)


def test_bounds_that_are_not_complete_do_not_count():
    properties = bounds(100, 50, 600, 500)
    del properties["openslide.bounds-height"]
    assert shown_area(properties, 1000, 800) == (0, 0, 1000, 800)


def test_bounds_that_are_no_numbers_do_not_count():
    properties = bounds(100, 50, 600, 500) | {"openslide.bounds-x": "left"}
    assert shown_area(properties, 1000, 800) == (0, 0, 1000, 800)


def test_reads_are_shifted_by_the_bounds():
    slide = ArrayReader(whole(WIDTH, HEIGHT), shown=(60, 40, 200, 150))
    expected = pixels_at(70, 45, 30, 20, WIDTH, HEIGHT)
    assert (slide.read(10, 5, 30, 20) == expected).all()


def test_what_lies_outside_the_bounds_is_white():
    slide = ArrayReader(whole(WIDTH, HEIGHT), shown=(60, 40, 200, 150))
    assert (slide.read(-20, 0, 20, 50) == 255).all()
    assert (slide.read(200, 0, 20, 50) == 255).all()
    assert (slide.read(0, 150, 50, 10) == 255).all()


def test_a_shifted_slide_that_was_not_shrunk_ends_in_white():
    slide = ArrayReader(whole(WIDTH, HEIGHT), shown=(60, 40, WIDTH, HEIGHT))
    pixels = slide.read(WIDTH - 70, 0, 70, 30)
    assert (pixels[:, :10] == pixels_at(WIDTH - 10, 40, 10, 30, WIDTH, HEIGHT)).all()
    assert (pixels[:, 10:] == 255).all()


def test_the_thumbnail_shows_the_bounds_only():
    canvas = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    canvas[40:190, 60:260] = 200
    slide = ArrayReader(canvas, shown=(60, 40, 200, 150))
    assert (slide.thumbnail(100) == 200).all()


@given(st.integers(-500, 500), st.integers(-400, 400), st.integers(1, 300), st.integers(1, 300))
def test_any_read_is_the_function_of_its_position(x, y, width, height):
    slide = ArrayReader(whole(WIDTH, HEIGHT))
    expected = pixels_at(x, y, width, height, WIDTH, HEIGHT)
    np.testing.assert_array_equal(slide.read(x, y, width, height), expected)


@pytest.mark.parametrize("out", [(100, 90), (33, 57), (224, 224), (300, 10)], ids=str)
def test_scaling_from_one_level_is_the_antialiased_resize_of_the_patch(out):
    slide = ArrayReader(whole(WIDTH, HEIGHT))
    patch = Image.fromarray(slide.read(50, 30, 256, 256))
    expected = np.asarray(patch.resize(out, Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(slide.read_scaled(50, 30, 256, 256, *out), expected)


def test_scaling_takes_the_coarsest_level_that_is_fine_enough():
    slide = ArrayReader(whole(WIDTH, HEIGHT), n_levels=3)
    # Levels of 1, 2 and 4: what is asked for at exactly 4 is level 2 itself.
    expected = slide._levels[2][10:30, 5:45]
    np.testing.assert_array_equal(slide.read_scaled(20, 40, 160, 80, 40, 20), expected)


def test_scaling_by_three_starts_from_the_level_of_two():
    slide = ArrayReader(whole(WIDTH, HEIGHT), n_levels=3)
    level = Image.fromarray(slide._levels[1][0:90, 0:120])
    expected = np.asarray(level.resize((80, 60), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(slide.read_scaled(0, 0, 240, 180, 80, 60), expected)


@settings(max_examples=60)
@given(
    st.integers(-60, 300),
    st.integers(-60, 200),
    st.integers(20, 400),
    st.integers(20, 400),
    st.integers(1, 120),
    st.integers(1, 120),
    st.integers(1, 3),
)
def test_scaling_in_bands_gives_the_pixels_of_one_piece(x, y, width, height, w, h, n_levels):
    slide = ArrayReader(whole(WIDTH, HEIGHT), n_levels=n_levels)
    at_once = slide.read_scaled(x, y, width, height, w, h)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pyramid, "_PIXELS_AT_ONCE", 2000)
        in_bands = slide.read_scaled(x, y, width, height, w, h)
    # Pillow keeps boxes in single precision, so a weight may round the other way.
    np.testing.assert_allclose(in_bands.astype(int), at_once.astype(int), atol=1)


def test_opaque_pixels_keep_their_colour():
    rgba = np.dstack((whole(20, 20), np.full((20, 20), 255, np.uint8)))
    np.testing.assert_array_equal(on_white(rgba), whole(20, 20))


@pytest.mark.parametrize("is_premultiplied", [True, False])
def test_transparent_pixels_become_white(is_premultiplied):
    rgba = np.zeros((4, 4, 4), np.uint8)
    assert (on_white(rgba, is_premultiplied=is_premultiplied) == 255).all()


def test_half_transparent_black_becomes_grey():
    rgba = np.zeros((1, 1, 4), np.uint8)
    rgba[..., 3] = 128
    assert on_white(rgba).tolist() == [[[127, 127, 127]]]


@given(st.integers(0, 255), st.integers(0, 255))
def test_both_kinds_of_alpha_agree(colour, alpha):
    straight = np.array([[[colour, colour, colour, alpha]]], np.uint8)
    multiplied = straight.copy()
    multiplied[..., :3] = (colour * alpha + 127) // 255
    assert (on_white(straight) == on_white(multiplied, is_premultiplied=True)).all()
