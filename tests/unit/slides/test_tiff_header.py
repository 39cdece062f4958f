"""A TIFF is judged by its header before anything is decoded."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
import tifffile
from tests.slide_files import whole, write_header, write_pyramid, write_rgba, write_striped

from slideloop.errors import NotRgbError, UnreadableSlideError
from slideloop.slides.limits import DEFAULT_LIMITS, Limits
from slideloop.slides.tiff_header import read_header


def test_a_tiled_pyramid_is_described(tmp_path):
    header = read_header(write_pyramid(tmp_path / "slide.tif", compression="lzw"), DEFAULT_LIMITS)
    assert header is not None
    assert (header.vendor, header.is_tiled, header.compression) == ("generic-tiff", True, 5)


def test_strips_are_seen(tmp_path):
    header = read_header(write_striped(tmp_path / "slide.tif"), DEFAULT_LIMITS)
    assert header is not None
    assert not header.is_tiled


def test_an_svs_is_seen(shared_data):
    path = shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    header = read_header(path, DEFAULT_LIMITS)
    assert header is not None
    assert (header.vendor, header.compression) == ("aperio", 33005)


@pytest.mark.parametrize(
    ("kind", "is_premultiplied"), [("unassalpha", False), ("assocalpha", True)]
)
def test_the_meaning_of_alpha_is_told(tmp_path, kind, is_premultiplied):
    header = read_header(write_rgba(tmp_path / "slide.tif", alpha_kind=kind), DEFAULT_LIMITS)
    assert header is not None
    assert (header.has_alpha, header.is_alpha_premultiplied) == (True, is_premultiplied)


def test_what_is_no_tiff_has_no_header(tmp_path):
    (tmp_path / "slide.mrxs").write_bytes(b"\xff\xd8\xff\xe0 a picture")
    assert read_header(tmp_path / "slide.mrxs", DEFAULT_LIMITS) is None


@pytest.mark.parametrize("size", [(4_000_000_000, 4_000_000_000), (2_000_000, 2_000_000)])
def test_an_absurd_size_is_refused(tmp_path, size):
    path = write_header(tmp_path / "slide.tif", *size, tile_px=256)
    with pytest.raises(UnreadableSlideError, match=f"promises {size[0]} x {size[1]} px"):
        read_header(path, DEFAULT_LIMITS)


def test_a_single_giant_strip_is_refused(tmp_path):
    path = write_header(tmp_path / "slide.tif", 50_000, 40_000)
    with pytest.raises(UnreadableSlideError, match="strips of 5722 MiB"):
        read_header(path, DEFAULT_LIMITS)


def test_a_single_giant_tile_is_refused(tmp_path):
    path = write_header(tmp_path / "slide.tif", 30_000, 30_000, tile_px=32_768)
    with pytest.raises(UnreadableSlideError, match="tiles of 3072 MiB"):
        read_header(path, DEFAULT_LIMITS)


def test_a_real_strip_above_the_limit_is_refused(tmp_path):
    path = write_striped(tmp_path / "slide.tif", 600, 400, rows=400)
    assert read_header(path, Limits(tile_bytes=600 * 400 * 3)) is not None
    with pytest.raises(UnreadableSlideError, match="strips"):
        read_header(path, Limits(tile_bytes=600 * 400 * 3 - 1))


def test_tiles_that_are_not_listed_are_missed(tmp_path):
    path = write_header(tmp_path / "slide.tif", 100_000, 100_000, tile_px=512, n_chunks=3)
    with pytest.raises(UnreadableSlideError, match="lists 3 of 38416 tiles"):
        read_header(path, DEFAULT_LIMITS)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_cut_short_is_unreadable(tmp_path, share):
    path = write_pyramid(tmp_path / "slide.tif", compression="none")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableSlideError, match=r"cut short|damaged"):
        read_header(path, DEFAULT_LIMITS)


def test_directories_without_end_are_refused(tmp_path):
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as writer:
        for _ in range(12):
            writer.write(whole(64, 64), photometric="rgb")
    with pytest.raises(UnreadableSlideError, match="damaged"):
        read_header(path, Limits(tiff_pages=10))


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_in_the_header_never_end_in_another_error(tmp_path, seed):
    path = write_pyramid(tmp_path / "slide.tif", 200, 200, compression="none", n_levels=1)
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for position in rng.integers(4, 300, 6):
        content[position] = rng.integers(256)
    path.write_bytes(content)
    with suppress(UnreadableSlideError, NotRgbError):
        read_header(path, DEFAULT_LIMITS)


@pytest.mark.parametrize(
    ("array", "photometric"),
    [
        (np.zeros((64, 64), np.uint8), "minisblack"),
        (np.zeros((64, 64), np.uint16), "minisblack"),
        (np.zeros((64, 64, 3), np.uint16), "rgb"),
        (np.zeros((64, 64, 3), np.float32), "rgb"),
        (np.zeros((3, 64, 64), np.uint8), "minisblack"),
    ],
    ids=["grey", "grey16", "rgb16", "rgb-float", "three-pages"],
)
def test_what_is_not_8_bit_rgb_is_refused(tmp_path, array, photometric):
    tifffile.imwrite(tmp_path / "slide.tif", array, photometric=photometric, tile=(64, 64))
    with pytest.raises(NotRgbError, match=r"not 8-bit RGB"):
        read_header(tmp_path / "slide.tif", DEFAULT_LIMITS)
