"""One suite that every slide reader passes, with equal pixels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.slide_files import pixels_at, write_pyramid, write_rgba

from slideloop.errors import InvalidInputError, UnreadableSlideError
from slideloop.slides.reader import READERS, open_slide

WIDTH, HEIGHT = 1000, 700
RECTANGLES = [
    (0, 0, 128, 128),
    (100, 90, 200, 150),
    (128, 256, 128, 128),
    (999, 699, 1, 1),
    (900, 650, 256, 256),
    (-40, -30, 100, 100),
    (2000, 2000, 20, 10),
]


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("slides")
    made = {
        kind: write_pyramid(folder / f"{kind}.tif", WIDTH, HEIGHT, compression=kind)
        for kind in ("deflate", "jpeg", "lzw")
    }
    made["unassalpha"] = write_rgba(folder / "unassalpha.tif")
    made["assocalpha"] = write_rgba(folder / "assocalpha.tif", alpha_kind="assocalpha")
    return made


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("rectangle", RECTANGLES, ids=str)
@pytest.mark.parametrize("kind", ["deflate", "lzw"])
def test_every_pixel_is_the_one_that_was_written(slides, reader, kind, rectangle):
    with open_slide(slides[kind], reader) as slide:
        pixels = slide.read(*rectangle)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, pixels_at(*rectangle, WIDTH, HEIGHT))


def test_jpeg_pixels_are_close_to_the_ones_that_were_written(slides, reader):
    with open_slide(slides["jpeg"], reader) as slide:
        pixels = slide.read(0, 0, WIDTH, HEIGHT)
    apart = np.abs(pixels.astype(int) - pixels_at(0, 0, WIDTH, HEIGHT, WIDTH, HEIGHT))
    assert apart.mean() < 6


@pytest.mark.parametrize("kind", ["deflate", "jpeg", "lzw", "unassalpha", "assocalpha"])
def test_all_readers_give_equal_pixels(slides, kind):
    opened = [open_slide(slides[kind], name) for name in READERS]
    try:
        for rectangle in RECTANGLES:
            first, second = (slide.read(*rectangle) for slide in opened)
            # Half-transparent pixels go through two roundings in one of them.
            tolerance = 1 if kind.endswith("alpha") else 0
            np.testing.assert_allclose(first.astype(int), second.astype(int), atol=tolerance)
    finally:
        for slide in opened:
            slide.close()


@pytest.mark.parametrize("out", [(64, 48), (100, 100), (33, 57), (400, 500)], ids=str)
@pytest.mark.parametrize("kind", ["deflate", "jpeg"])
def test_all_readers_scale_to_equal_pixels(slides, kind, out):
    scaled = []
    for name in READERS:
        with open_slide(slides[kind], name) as slide:
            scaled.append(slide.read_scaled(-20, 40, 512, 384, *out))
    assert scaled[0].shape == (out[1], out[0], 3)
    np.testing.assert_array_equal(scaled[0], scaled[1])


def test_transparent_pixels_are_white(slides, reader):
    for kind in ("unassalpha", "assocalpha"):
        with open_slide(slides[kind], reader) as slide:
            assert (slide.read(300, 0, 100, 100) == 255).all()


def test_half_transparent_pixels_are_half_white(slides, reader):
    with open_slide(slides["unassalpha"], reader) as slide:
        pixels = slide.read(240, 0, 16, 100).astype(float)
    wanted = pixels_at(240, 0, 16, 100, 512, 512) * (128 / 255) + 127
    assert np.abs(pixels - wanted).max() <= 2


def test_size_levels_and_mpp_are_told(slides, reader):
    with open_slide(slides["deflate"], reader) as slide:
        info = slide.info
    assert (info.width, info.height, info.reader, info.origin) == (WIDTH, HEIGHT, reader, (0, 0))
    assert info.level_downsamples == pytest.approx((1, 2, 4), rel=1e-3)
    assert info.mpp == pytest.approx(0.5, rel=1e-4)


def test_a_missing_mpp_is_none(tmp_path, reader):
    path = write_pyramid(tmp_path / "slide.tif", 300, 300, mpp=None)
    with open_slide(path, reader) as slide:
        assert slide.info.mpp is None


@pytest.mark.parametrize("mpp", [352.0, 0.001])
def test_a_nonsense_mpp_is_none(tmp_path, reader, mpp):
    path = write_pyramid(tmp_path / "slide.tif", 300, 300, mpp=mpp)
    with open_slide(path, reader) as slide:
        assert slide.info.mpp is None


def test_scaling_to_the_same_size_is_reading(slides, reader):
    with open_slide(slides["deflate"], reader) as slide:
        np.testing.assert_array_equal(
            slide.read_scaled(10, 20, 224, 200, 224, 200), slide.read(10, 20, 224, 200)
        )


def test_the_thumbnail_shows_the_whole_slide(slides, reader):
    with open_slide(slides["deflate"], reader) as slide:
        thumbnail = slide.thumbnail(250)
        corner = slide.read(0, 0, 4, 4).mean()
    assert thumbnail.shape == (175, 250, 3)
    assert abs(thumbnail[0, 0].mean() - corner) < 12


def test_a_thumbnail_is_never_larger_than_the_slide(tmp_path, reader):
    path = write_pyramid(tmp_path / "slide.tif", 200, 150, n_levels=1)
    with open_slide(path, reader) as slide:
        assert slide.thumbnail(4000).shape == (150, 200, 3)


@pytest.mark.parametrize("kind", ["deflate", "jpeg"])
def test_many_threads_read_the_same_pixels_as_one(slides, reader, kind):
    rng = np.random.default_rng(0)
    rectangles = [
        (int(x), int(y), 150, 140)
        for x, y in zip(rng.integers(-50, WIDTH, 150), rng.integers(-50, HEIGHT, 150), strict=True)
    ]
    with open_slide(slides[kind], reader) as slide:
        alone = [slide.read(*rectangle) for rectangle in rectangles]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda rectangle: slide.read(*rectangle), rectangles))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_rectangle_without_pixels_is_refused(slides, reader):
    with (
        open_slide(slides["deflate"], reader) as slide,
        pytest.raises(InvalidInputError, match="no pixels"),
    ):
        slide.read(0, 0, 0, 5)


def test_closing_twice_does_nothing(slides, reader):
    slide = open_slide(slides["deflate"], reader)
    slide.close()
    slide.close()


def test_damaged_tiles_are_a_named_error(tmp_path, reader):
    path = write_pyramid(tmp_path / "slide.tif", 512, 512, compression="deflate", n_levels=1)
    content = bytearray(path.read_bytes())
    content[2000:-2000] = bytes(len(content) - 4000)
    path.write_bytes(content)
    with (
        open_slide(path, reader) as slide,
        pytest.raises(UnreadableSlideError, match="cannot be decoded"),
    ):
        slide.read(0, 0, 512, 512)


REAL_SLIDES = ["CMU-1-Small-Region.svs", "colon_regions.tif", "small_HE_levels.tiff"]


@pytest.mark.parametrize("name", [*REAL_SLIDES, "tcga-cr-7395-01a-01-ts1.svs"])
def test_all_readers_give_equal_pixels_on_real_slides(shared_data, name):
    opened = [open_slide(shared_data / "slides" / name, reader) for reader in READERS]
    try:
        info = opened[0].info
        for share_x, share_y in [(0.05, 0.1), (0.3, 0.6), (0.5, 0.5), (0.7, 0.2), (0.97, 0.96)]:
            x, y = int(share_x * info.width), int(share_y * info.height)
            first, second = (slide.read(x, y, 256, 256) for slide in opened)
            np.testing.assert_array_equal(first, second)
    finally:
        for slide in opened:
            slide.close()


@pytest.mark.parametrize("name", REAL_SLIDES)
def test_all_readers_scale_to_equal_pixels_on_real_slides(shared_data, name):
    thumbnails = []
    for reader in READERS:
        with open_slide(shared_data / "slides" / name, reader) as slide:
            thumbnails.append(slide.thumbnail(300))
    np.testing.assert_array_equal(*thumbnails)
