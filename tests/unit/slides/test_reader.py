"""Which reader opens what, and what is refused before anything is opened."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from tests.slide_files import pixels_at, write_pyramid, write_striped

from slideloop.errors import (
    InvalidInputError,
    NotRgbError,
    SlideNotFoundError,
    UnreadableSlideError,
)
from slideloop.slides.limits import Limits
from slideloop.slides.reader import open_slide, plausible_mpp, reader_order
from slideloop.slides.tiff_header import TiffHeader


def header(vendor: str = "generic-tiff", *, is_tiled: bool = True, compression: int = 7):
    return TiffHeader(
        vendor=vendor,
        is_tiled=is_tiled,
        compression=compression,
        has_alpha=False,
        is_alpha_premultiplied=False,
    )


@pytest.mark.parametrize(
    ("facts", "order"),
    [
        (header(), ("tiffslide", "openslide")),
        (header("aperio"), ("tiffslide", "openslide")),
        (header("aperio", compression=33003), ("openslide", "tiffslide")),
        (header("aperio", compression=33005), ("openslide", "tiffslide")),
        (header(compression=34712), ("tiffslide", "openslide")),
        (header(is_tiled=False), ("tiffslide",)),
        (header("leica"), ("openslide", "tiffslide")),
        (header("philips"), ("openslide", "tiffslide")),
        (header("hamamatsu", is_tiled=False), ("openslide", "tiffslide")),
        (header("ventana"), ("openslide",)),
        (None, ("openslide",)),
    ],
    ids=str,
)
def test_format_and_compression_decide_who_reads(facts, order):
    assert reader_order(facts) == order


def test_a_tiled_tiff_is_read_by_tiffslide(tmp_path):
    with open_slide(write_pyramid(tmp_path / "slide.tif")) as slide:
        assert slide.info.reader == "tiffslide"


def test_the_reader_asked_for_is_taken(tmp_path):
    with open_slide(write_pyramid(tmp_path / "slide.tif"), "openslide") as slide:
        assert slide.info.reader == "openslide"


def test_a_striped_tiff_is_read_by_tiffslide(tmp_path):
    with open_slide(write_striped(tmp_path / "slide.tif", 600, 400)) as slide:
        assert slide.info.reader == "tiffslide"
        assert (slide.read(90, 80, 64, 64) == pixels_at(90, 80, 64, 64, 600, 400)).all()


def test_levels_in_sub_directories_are_found(tmp_path):
    with open_slide(write_pyramid(tmp_path / "slide.tif", as_subifds=True)) as slide:
        assert len(slide.info.level_downsamples) == 3


def test_jpeg_2000_in_a_generic_tiff_is_read(tmp_path):
    path = write_pyramid(tmp_path / "slide.tif", compression="jpeg2000", n_levels=1)
    with open_slide(path) as slide:
        assert slide.info.reader == "tiffslide"
        assert slide.read(0, 0, 64, 64).shape == (64, 64, 3)


def test_jpeg_2000_in_an_svs_is_read_by_openslide(shared_data):
    with open_slide(shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs") as slide:
        assert slide.info.reader == "openslide"
        assert slide.info.mpp is None


def test_an_unknown_reader_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="bioformats"):
        open_slide(write_pyramid(tmp_path / "slide.tif"), "bioformats")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(SlideNotFoundError, match=r"missing\.svs"):
        open_slide(tmp_path / "missing.svs")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(SlideNotFoundError, match="a folder"):
        open_slide(tmp_path)


def test_a_nul_in_the_path_is_refused():
    with pytest.raises(SlideNotFoundError):
        open_slide("slide\0.svs")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system")
def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.svs")
    with pytest.raises(SlideNotFoundError, match="a pipe"):
        open_slide(tmp_path / "pipe.svs")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no sockets in the file system")
def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.svs")
        with pytest.raises(SlideNotFoundError, match="a socket"):
            open_slide("socket.svs")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices in the file system")  # noqa: PTH110
def test_a_device_is_refused():
    with pytest.raises(SlideNotFoundError, match="a device"):
        open_slide("/dev/zero")


def test_a_link_to_a_slide_is_followed(tmp_path):
    path = write_pyramid(tmp_path / "slide.tif")
    (tmp_path / "link.tif").symlink_to(path)
    with open_slide(tmp_path / "link.tif") as slide:
        assert slide.info.width == 1000


@pytest.mark.parametrize("content", [b"", b"no slide", b"II*\0", b"II*\0\x08\0\0\0\xff\xff"])
def test_a_file_that_is_no_slide_is_unreadable(tmp_path, content):
    (tmp_path / "slide.svs").write_bytes(content)
    with pytest.raises(UnreadableSlideError, match=r"slide\.svs"):
        open_slide(tmp_path / "slide.svs")


@pytest.mark.parametrize("name", ["broken.svs", "small_dicom.dcm"])
def test_a_real_file_that_is_no_slide_is_unreadable(shared_data, name):
    with pytest.raises(UnreadableSlideError, match=name):
        open_slide(shared_data / "slides" / name)


@pytest.mark.parametrize(
    ("name", "facts"),
    [("smalltif.tif", "1 channel of uint16"), ("small_vectra.qptiff", "1 channel of uint8")],
)
@pytest.mark.parametrize("reader", [None, "tiffslide", "openslide"])
def test_a_real_slide_that_is_not_rgb_is_refused(shared_data, name, facts, reader):
    with pytest.raises(NotRgbError, match=facts):
        open_slide(shared_data / "slides" / name, reader)


def test_a_real_nonsense_mpp_is_none(shared_data):
    with open_slide(shared_data / "slides" / "small_HE_levels.tiff") as slide:
        assert slide.info.mpp is None


def test_a_real_mpp_is_read(shared_data):
    with open_slide(shared_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        assert slide.info.mpp == pytest.approx(0.499)


@pytest.mark.parametrize(
    ("x_mpp", "y_mpp", "mpp"),
    [
        (0.5, 0.5, 0.5),
        ("0.25", "0.27", 0.26),
        (0.02, 20, 10.01),
        (None, None, None),
        (0.5, None, None),
        ("", "", None),
        ("half", 0.5, None),
        (352.8, 352.8, None),
        (0.019, 0.019, None),
        (0, 0, None),
        (-0.5, -0.5, None),
        (float("nan"), 0.5, None),
        (float("inf"), 0.5, None),
        (10**400, 0.5, None),
    ],
    ids=lambda value: str(value)[:8],
)
def test_only_a_plausible_mpp_is_believed(x_mpp, y_mpp, mpp):
    assert plausible_mpp(x_mpp, y_mpp) == (mpp if mpp is None else pytest.approx(mpp))


def test_more_pixels_than_the_limit_are_refused(tmp_path):
    path = write_pyramid(tmp_path / "slide.tif", 300, 300)
    with pytest.raises(UnreadableSlideError, match="300 x 300 px"):
        open_slide(path, limits=Limits(image_pixels=300 * 300 - 1))


def test_importing_the_reader_imports_no_back_end():
    heavy = "{'tiffslide', 'openslide', 'tifffile', 'zarr', 'cv2', 'PIL'}"
    code = f"import sys, slideloop.slides.opening, slideloop.slides.filters; sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
