"""Whether a slide is what QuPath shows: turned, flipped, another file or plane, other decoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.slide_files import ArrayReader, halved

from slideloop.errors import (
    InvalidInputError,
    ServerTypeUnsupportedError,
    SlideMppDiffersError,
    SlidePixelsDifferError,
    SlideSizeDiffersError,
)
from slideloop.evaluation.generated import Scene, write_slide
from slideloop.slides.agreement import (
    COLOUR_TOLERANCE,
    MAX_PROBES,
    SERVER_TYPES,
    check_agreement,
    mean_colour,
    probe_places,
)
from slideloop.slides.reader import SlideReader, open_slide

SIDE = 256
WIDTH, HEIGHT = 1536, 1024
Probe = list[dict[str, Any]]


def pixels_of(seed: int) -> NDArray[np.uint8]:
    return Scene(seed, WIDTH, HEIGHT).pixels(0, 0, WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def scene() -> NDArray[np.uint8]:
    return pixels_of(0)


def probe_of(reader: SlideReader, side: int = SIDE) -> Probe:
    """What QuPath would send of a slide: the mean colours of rectangles all over it."""
    return [
        {
            "x": x,
            "y": y,
            "width": side,
            "height": side,
            "rgb": [float(value) for value in mean_colour(reader, x, y, side, side)],
        }
        for y in range(64, reader.info.height - side, 300)
        for x in range(64, reader.info.width - side, 400)
    ]


def check(reader: SlideReader, **shown: Any) -> None:
    check_agreement(reader.info, reader, **shown)


def test_a_slide_agrees_with_itself(scene: NDArray[np.uint8]) -> None:
    reader = ArrayReader(scene)
    probe = probe_of(reader)
    assert len(probe) == 12
    check(reader, width=WIDTH, height=HEIGHT, mpp=0.5, server_type="OpenSlide", probe=probe)


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(lambda here: here[::-1, ::-1], id="turned by 180 degrees"),
        pytest.param(lambda here: here[:, ::-1], id="flipped left to right"),
        pytest.param(lambda here: here[::-1], id="flipped top to bottom"),
        pytest.param(lambda here: here[..., ::-1], id="red and blue exchanged"),
        pytest.param(lambda _: pixels_of(1), id="another file of equal size"),
        pytest.param(lambda here: 255 - (255 - here) // 2, id="another plane, fainter"),
    ],
)
def test_what_shows_other_pixels_is_refused(
    scene: NDArray[np.uint8], shown: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> None:
    probe = probe_of(ArrayReader(np.ascontiguousarray(shown(scene))))
    with pytest.raises(SlidePixelsDifferError):
        check(ArrayReader(scene), width=WIDTH, height=HEIGHT, probe=probe)


def test_the_message_has_the_place_and_both_colours(scene: NDArray[np.uint8]) -> None:
    reader = ArrayReader(scene)
    there = {"x": 700, "y": 500, "width": 100, "height": 50}
    here = mean_colour(reader, **there)
    assert here == pytest.approx(scene[500:550, 700:800].mean((0, 1)))
    colours = f"({here[0]:.1f}, {here[1]:.1f}, {here[2]:.1f})"
    with pytest.raises(SlidePixelsDifferError) as caught:
        check(reader, probe=[{**there, "rgb": [1.0, 2.0, 3.04]}])
    for part in ("(700, 500), 100 x 50 px", "(1.0, 2.0, 3.0)", colours):
        assert part in caught.value.message
    assert (caught.value.code, caught.value.http_status) == ("slide_pixels_differ", 409)


@pytest.mark.parametrize("channel", range(3))
@pytest.mark.parametrize("sign", [-1, 1])
def test_each_channel_may_differ_by_the_tolerance(
    scene: NDArray[np.uint8], channel: int, sign: int
) -> None:
    reader = ArrayReader(scene)
    (one, *_) = probe_of(reader)
    rgb = list(one["rgb"])
    rgb[channel] += sign * (COLOUR_TOLERANCE - 0.01)
    check(reader, probe=[{**one, "rgb": rgb}])
    rgb[channel] += sign * 0.02
    with pytest.raises(SlidePixelsDifferError):
        check(reader, probe=[{**one, "rgb": rgb}])


def test_one_rectangle_that_differs_is_enough(scene: NDArray[np.uint8]) -> None:
    reader = ArrayReader(scene)
    probe = probe_of(reader)
    probe[-1]["rgb"] = [0.0, 0.0, 0.0]
    with pytest.raises(SlidePixelsDifferError):
        check(reader, probe=probe)


@pytest.mark.parametrize("level", [1, 2])
def test_means_from_a_coarser_level_agree(scene: NDArray[np.uint8], level: int) -> None:
    coarse = scene
    for _ in range(level):
        coarse = halved(coarse)
    step = 2**level
    probe = probe_of(ArrayReader(scene))
    for one in probe:
        left, top, side = one["x"] // step, one["y"] // step, SIDE // step
        part = coarse[top : top + side, left : left + side]
        one["rgb"] = part.mean((0, 1)).tolist()
    check(ArrayReader(scene), probe=probe)


@pytest.mark.parametrize("other", ["tiffslide", "openslide"])
def test_other_jpeg_decoders_agree(tmp_path: Path, scene: NDArray[np.uint8], other: str) -> None:
    write_slide(Scene(0, WIDTH, HEIGHT), tmp_path / "jpeg.tif")
    with open_slide(tmp_path / "jpeg.tif", other) as reader:
        # As far apart as decoders can be: the pixels before any compression.
        check(reader, width=WIDTH, height=HEIGHT, probe=probe_of(ArrayReader(scene)))


def test_a_real_slide_agrees_across_readers_and_not_with_itself_turned(shared_data: Path) -> None:
    path = shared_data / "slides" / "CMU-1-Small-Region.svs"
    with open_slide(path, "tiffslide") as one, open_slide(path, "openslide") as other:
        probe = probe_of(other)
        check(one, width=other.info.width, height=other.info.height, probe=probe)
        turned = [
            {**p, "x": one.info.width - p["x"] - SIDE, "y": one.info.height - p["y"] - SIDE}
            for p in probe
        ]
        with pytest.raises(SlidePixelsDifferError):
            check(one, probe=turned)


def test_the_probe_counts_in_the_coordinates_that_qupath_shows(scene: NDArray[np.uint8]) -> None:
    bounded = ArrayReader(scene, shown=(200, 100, 1100, 800))
    shown = ArrayReader(np.ascontiguousarray(scene[100:900, 200:1300]))
    check(bounded, width=1100, height=800, probe=probe_of(shown))
    with pytest.raises(SlidePixelsDifferError):
        check(bounded, probe=probe_of(ArrayReader(scene))[:2])
    with pytest.raises(InvalidInputError):  # inside the file, outside what is shown
        check(bounded, probe=[{"x": 1000, "y": 0, "width": 256, "height": 8, "rgb": [0, 0, 0]}])


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT + 1), (WIDTH - 1, HEIGHT), (HEIGHT, WIDTH)])
def test_another_size_is_refused_with_both_sizes(
    scene: NDArray[np.uint8], size: tuple[int, int]
) -> None:
    with pytest.raises(SlideSizeDiffersError) as caught:
        check(ArrayReader(scene), width=size[0], height=size[1])
    assert f"{size[0]} x {size[1]} px" in caught.value.message
    assert f"{WIDTH} x {HEIGHT} px" in caught.value.message


def test_one_side_alone_is_compared_too(scene: NDArray[np.uint8]) -> None:
    check(ArrayReader(scene), height=HEIGHT)
    with pytest.raises(SlideSizeDiffersError):
        check(ArrayReader(scene), height=HEIGHT - 1)


def test_mpp_may_differ_by_one_percent(tmp_path: Path) -> None:
    write_slide(Scene(0, 320, 256), tmp_path / "half.tif", mpp=0.5)
    with open_slide(tmp_path / "half.tif") as reader:
        for mpp in (0.4951, 0.5, 0.5049):
            check(reader, mpp=mpp)
        for mpp in (0.494, 0.506, 0.25, 1.0):
            with pytest.raises(SlideMppDiffersError, match=f"{mpp:g} um/px.*0.5 um/px"):
                check(reader, mpp=mpp)


def test_an_mpp_that_the_file_does_not_state_is_not_compared(scene: NDArray[np.uint8]) -> None:
    check(ArrayReader(scene), mpp=0.3)


@pytest.mark.parametrize("server_type", SERVER_TYPES)
def test_what_reads_the_file_as_it_is_passes(scene: NDArray[np.uint8], server_type: str) -> None:
    check(ArrayReader(scene), server_type=server_type)


@pytest.mark.parametrize(
    "server_type",
    [
        "OpenSlide (Rotate 180)",
        "Bio-Formats (Rotate 90)",
        "OpenSlide (Flip HORIZONTAL)",
        "OpenSlide [reorder BGR]",
        "Generated pyramid (OpenSlide (Flip VERTICAL))",
        "Cropped image server",
        "Affine transform server",
        "Channel concat image server",
        "Z-concatenated image server",
        "Color deconvolution server",
        "Type convert (UINT8)",
        "OpenSlide ",
        "openslide",
        "My own server",
        "",
    ],
)
def test_a_wrapper_or_an_unknown_server_is_refused_by_name(
    scene: NDArray[np.uint8], server_type: str
) -> None:
    with pytest.raises(ServerTypeUnsupportedError) as caught:
        check(ArrayReader(scene), server_type=server_type)
    assert repr(server_type) in caught.value.message


def test_a_pyramid_that_qupath_generated_passes(scene: NDArray[np.uint8]) -> None:
    check(ArrayReader(scene), server_type="Generated pyramid (ImageJ server)")


def test_a_long_server_type_is_cut_in_the_message(scene: NDArray[np.uint8]) -> None:
    with pytest.raises(ServerTypeUnsupportedError) as caught:
        check(ArrayReader(scene), server_type="x" * 5000)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "rectangle",
    [(-1, 0, 10, 10), (0, 0, WIDTH + 1, 1), (0, HEIGHT, 1, 1), (5, 5, 0, 5), (5, 5, 5, -5)],
)
def test_a_rectangle_outside_the_slide_is_refused(
    scene: NDArray[np.uint8], rectangle: tuple[int, int, int, int]
) -> None:
    sides = dict(zip(("x", "y", "width", "height"), rectangle, strict=True))
    with pytest.raises(InvalidInputError):
        check(ArrayReader(scene), probe=[{**sides, "rgb": [0, 0, 0]}])


class _NeverRead(ArrayReader):
    def read(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        raise AssertionError("read")


def test_a_probe_is_bounded_before_anything_is_read() -> None:
    reader = _NeverRead(np.zeros((8, 8, 3), np.uint8))
    one = {"x": 0, "y": 0, "width": 1, "height": 1, "rgb": [0, 0, 0]}
    with pytest.raises(InvalidInputError):
        check(reader, probe=[one] * (MAX_PROBES + 1))
    huge = {**one, "width": 2**16, "height": 2**16}
    with pytest.raises(InvalidInputError):
        check(reader, probe=[huge])


def test_a_tall_rectangle_is_read_in_strips(scene: NDArray[np.uint8]) -> None:
    reader = ArrayReader(scene)
    assert mean_colour(reader, 100, 3, 70, 1021) == pytest.approx(
        scene[3:1024, 100:170].mean((0, 1))
    )


def test_places_lie_in_the_slide_and_tell_it_from_itself_turned(
    scene: NDArray[np.uint8],
) -> None:
    reader = ArrayReader(scene)
    places: Probe = probe_places(reader)
    assert 1 <= len(places) <= MAX_PROBES
    for place in places:
        x, y, width, height = (place[side] for side in ("x", "y", "width", "height"))
        assert 0 <= x <= WIDTH - width and 0 <= y <= HEIGHT - height
    shown = [{**place, "rgb": mean_colour(reader, **place)} for place in places]
    check(reader, probe=shown)
    for turned in (scene[::-1, ::-1], scene[:, ::-1], scene[::-1]):
        with pytest.raises(SlidePixelsDifferError):
            check(ArrayReader(np.ascontiguousarray(turned)), probe=shown)


def test_places_are_where_there_is_colour() -> None:
    pixels = np.full((HEIGHT, WIDTH, 3), 240, np.uint8)
    pixels[600:900, 1000:1300] = (180, 60, 140)
    best = probe_places(ArrayReader(pixels))[0]
    assert 744 <= best["x"] <= 1300 and 344 <= best["y"] <= 900


def test_a_slide_smaller_than_a_place_has_one(scene: NDArray[np.uint8]) -> None:
    (place,) = probe_places(ArrayReader(np.ascontiguousarray(scene[:100, :80])))
    assert place == {"x": 0, "y": 0, "width": 80, "height": 100}
