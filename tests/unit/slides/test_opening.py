"""The first opening: in a child process, within a time, with both readers compared."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.slide_files import (
    ArrayReader,
    whole,
    write_header,
    write_pyramid,
    write_striped,
)

from slideloop.errors import (
    NotRgbError,
    SlideNotFoundError,
    UnreadableSlideError,
)
from slideloop.slides import opening
from slideloop.slides.limits import Limits
from slideloop.slides.opening import check_slide, examine, run_guarded, telling_tiles
from slideloop.slides.reader import open_slide

SLIDE = Path("slide.svs")


def child(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_good_slide_is_described_as_the_reader_describes_it(tmp_path):
    path = write_pyramid(tmp_path / "slide.tif", compression="jpeg")
    with open_slide(path) as slide:
        assert check_slide(path) == slide.info


def test_a_name_of_any_characters_survives_the_child(tmp_path):
    path = write_pyramid(tmp_path / "Gewebe µ „7“ \n x.tif", n_levels=1)
    assert check_slide(path).path == path


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_a_name_that_is_not_utf_8_survives_the_child(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.tif"))
    path.write_bytes(write_pyramid(tmp_path / "slide.tif", n_levels=1).read_bytes())
    assert check_slide(path).width == 1000


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("CMU-1-Small-Region.svs", "tiffslide"),
        ("colon_regions.tif", "tiffslide"),
        ("small_HE_levels.tiff", "tiffslide"),
        ("tcga-cr-7395-01a-01-ts1.svs", "openslide"),
    ],
)
def test_real_slides_are_read_alike_by_both_readers(shared_data, name, reader):
    info = check_slide(shared_data / "slides" / name)
    assert (info.reader, info.notes) == (reader, ())


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("broken.svs", UnreadableSlideError),
        ("small_dicom.dcm", UnreadableSlideError),
        ("small_vectra.qptiff", NotRgbError),
        ("smalltif.tif", NotRgbError),
    ],
)
def test_real_files_that_cannot_be_used_are_named(shared_data, name, error):
    with pytest.raises(error, match=name) as caught:
        check_slide(shared_data / "slides" / name)
    assert caught.value.hint


def test_an_absurd_promise_is_refused(tmp_path):
    path = write_header(tmp_path / "slide.tif", 4_000_000_000, 4_000_000_000, tile_px=256)
    with pytest.raises(UnreadableSlideError, match="promises"):
        check_slide(path)


def test_one_giant_strip_is_refused(tmp_path):
    path = write_header(tmp_path / "slide.tif", 60_000, 60_000)
    with pytest.raises(UnreadableSlideError, match="strips"):
        check_slide(path)


def test_the_limits_reach_the_child(tmp_path):
    path = write_striped(tmp_path / "slide.tif")
    with pytest.raises(UnreadableSlideError, match="600 x 400 px"):
        check_slide(path, limits=Limits(image_pixels=1000))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system")
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.svs")
    started = time.perf_counter()
    with pytest.raises(SlideNotFoundError, match="a pipe"):
        check_slide(tmp_path / "pipe.svs")
    assert time.perf_counter() - started < 1


def test_a_slide_with_damaged_pixels_is_unreadable(tmp_path):
    path = write_pyramid(tmp_path / "slide.tif", n_levels=1)
    content = bytearray(path.read_bytes())
    content[2000:-2000] = bytes(len(content) - 4000)
    path.write_bytes(content)
    with pytest.raises(UnreadableSlideError):
        check_slide(path)


def test_a_child_that_crashes_is_an_unreadable_slide():
    with pytest.raises(UnreadableSlideError, match=r"crashed while opening 'slide\.svs'"):
        run_guarded(child("import os; os.abort()"), SLIDE, 60)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_the_signal_of_a_crash_is_named():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    with pytest.raises(UnreadableSlideError, match="SIGSEGV"):
        run_guarded(child(code), SLIDE, 60)


def test_a_child_that_hangs_is_stopped():
    started = time.perf_counter()
    with pytest.raises(UnreadableSlideError, match=r"longer than 0\.5 s"):
        run_guarded(child("import time; time.sleep(600)"), SLIDE, 0.5)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("output", ["", "no json", "[]", "{"])
def test_a_child_that_says_something_else_is_an_unreadable_slide(output):
    with pytest.raises(UnreadableSlideError, match="crashed"):
        run_guarded(child(f"print({output!r})"), SLIDE, 60)


def test_a_time_limit_that_is_too_short_is_named(tmp_path):
    with pytest.raises(UnreadableSlideError, match=r"longer than 0\.01 s"):
        check_slide(write_pyramid(tmp_path / "slide.tif"), timeout_s=0.01)


class Altered:
    """A reader whose pixels are changed on the way, as a faulty decoder would."""

    def __init__(self, reader, change):
        self._reader, self._change = reader, change
        self.info = reader.info

    def read(self, *rectangle):
        return self._change(self._reader.read(*rectangle))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._reader.close()

    def __getattr__(self, name):
        return getattr(self._reader, name)


def alter(monkeypatch: pytest.MonkeyPatch, change, readers=("tiffslide",)) -> None:
    """Change what some readers read, with both real readers at work."""

    def opened(path, reader=None, **options):
        slide = open_slide(path, reader, **options)
        return Altered(slide, change) if slide.info.reader in readers else slide

    monkeypatch.setattr(opening, "open_slide", opened)


def test_readers_that_agree_leave_no_note(tmp_path):
    info = examine(write_pyramid(tmp_path / "slide.tif", compression="jpeg"))
    assert (info.reader, info.notes) == ("tiffslide", ())


@pytest.mark.parametrize(
    "change",
    [np.zeros_like, lambda pixels: pixels[:, ::-1], lambda pixels: np.roll(pixels, 30, axis=1)],
    ids=["zeros", "mirrored", "shifted"],
)
def test_openslide_is_preferred_where_pixels_differ(tmp_path, monkeypatch, change):
    alter(monkeypatch, change)
    info = examine(write_pyramid(tmp_path / "slide.tif"))
    assert info.reader == "openslide"
    assert info.notes == (
        "Read with openslide, since TiffSlide disagrees with it on this file: "
        "8 of 8 tiles have other pixels.",
    )


def refuse(pixels):
    raise UnreadableSlideError("This tile cannot be decoded.")


def test_the_reader_that_decodes_is_taken(tmp_path, monkeypatch):
    alter(monkeypatch, refuse)
    info = examine(write_pyramid(tmp_path / "slide.tif"))
    assert info.reader == "openslide"
    assert info.notes == ("Read with openslide, since the other reader cannot decode this file.",)


def test_a_slide_that_no_reader_decodes_is_unreadable(tmp_path, monkeypatch):
    alter(monkeypatch, refuse, readers=("tiffslide", "openslide"))
    with pytest.raises(UnreadableSlideError, match="cannot be decoded"):
        examine(write_pyramid(tmp_path / "slide.tif"))


def test_the_preferred_reader_stays_when_only_the_other_fails(tmp_path, monkeypatch):
    alter(monkeypatch, refuse, readers=("openslide",))
    info = examine(write_pyramid(tmp_path / "slide.tif"))
    assert (info.reader, info.notes) == ("tiffslide", ())


def test_the_rounding_of_jpeg_decoders_is_no_difference(tmp_path, monkeypatch):
    alter(monkeypatch, lambda pixels: np.minimum(pixels, 254) + np.uint8(1))
    assert examine(write_pyramid(tmp_path / "slide.tif")).reader == "tiffslide"


def test_a_slide_that_one_reader_opens_is_not_compared(tmp_path):
    info = examine(write_striped(tmp_path / "slide.tif"))
    assert (info.reader, info.notes) == ("tiffslide", ())


def test_the_tiles_compared_are_spread_and_lie_on_tissue():
    canvas = np.full((1600, 1600, 3), 245, dtype=np.uint8)
    # A patch of tissue in the lower right corner of each of the 4 x 2 regions.
    for row in range(4):
        for column in range(2):
            spot = whole(80, 80)
            canvas[row * 400 + 310 : row * 400 + 390, column * 800 + 650 : column * 800 + 730] = (
                spot
            )
    tiles = telling_tiles(ArrayReader(canvas))
    assert len(set(tiles)) == 8
    for x, y, width, height in tiles:
        assert (width, height) == (256, 256)
        assert canvas[y : y + height, x : x + width].std() > 5


def test_tiles_of_a_tiny_slide_lie_inside_it():
    for x, y, width, height in telling_tiles(ArrayReader(whole(60, 40))):
        assert (x, y, width, height) == (0, 0, 60, 40)
