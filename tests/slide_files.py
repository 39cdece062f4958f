"""Small slides for tests, whose pixels are a function of (x, y): any read can be checked."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from slideloop.slides.pyramid import PyramidReader
from slideloop.slides.reader import SlideInfo

JPEG_QUALITY = 92


def pixels_at(
    x: int, y: int, width: int, height: int, slide_width: int, slide_height: int
) -> NDArray[np.uint8]:
    """RGB that a read of this rectangle must give: a function of (x, y), white outside."""
    columns = np.arange(x, x + width)[None, :]
    rows = np.arange(y, y + height)[:, None]
    red = (columns // 2 + rows // 3) % 256
    green = 128 + 100 * np.sin(columns / 31.0) * np.cos(rows / 23.0)
    blue = (columns * 5 // 8 + (rows // 16) * 7) % 256
    planes = np.broadcast_arrays(red, green, blue)
    rgb = np.stack(planes, axis=2).astype(np.uint8)
    inside = (columns >= 0) & (columns < slide_width) & (rows >= 0) & (rows < slide_height)
    rgb[~inside] = 255
    return rgb


def whole(width: int, height: int) -> NDArray[np.uint8]:
    return pixels_at(0, 0, width, height, width, height)


def halved(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of each 2 x 2 pixels; an odd last row or column is left out."""
    height, width = rgb.shape[0] // 2, rgb.shape[1] // 2
    blocks = rgb[: height * 2, : width * 2].reshape(height, 2, width, 2, -1)
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)


def write_pyramid(
    path: Path,
    width: int = 1000,
    height: int = 700,
    *,
    compression: str = "deflate",
    n_levels: int = 3,
    tile_px: int = 128,
    mpp: float | None = 0.5,
    as_subifds: bool = False,
    pixels: NDArray[np.uint8] | None = None,
) -> Path:
    """Tiled pyramid; with `pixels`, those instead of the function."""
    level = whole(width, height) if pixels is None else pixels
    options = {"tile": (tile_px, tile_px), "photometric": "rgb", "metadata": None}
    if compression == "jpeg":
        options["compressionargs"] = {"level": JPEG_QUALITY}
    if mpp is not None:
        options |= {"resolution": (10_000 / mpp, 10_000 / mpp), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            level, compression=compression, subifds=n_levels - 1 if as_subifds else 0, **options
        )
        for _ in range(n_levels - 1):
            level = halved(level)
            writer.write(level, compression=compression, subfiletype=1, **options)
    return path


def write_striped(path: Path, width: int = 600, height: int = 400, rows: int = 16) -> Path:
    tifffile.imwrite(
        path, whole(width, height), photometric="rgb", rowsperstrip=rows, compression="deflate"
    )
    return path


def write_rgba(
    path: Path, width: int = 512, height: int = 512, *, alpha_kind: str = "unassalpha"
) -> Path:
    """Left half opaque, right half transparent, a half-transparent stripe in the middle."""
    alpha = np.full((height, width, 1), 255, dtype=np.uint8)
    alpha[:, width // 2 :] = 0
    alpha[:, width // 2 - 16 : width // 2] = 128
    colours = whole(width, height)
    if alpha_kind == "assocalpha":
        colours = (colours.astype(np.uint16) * alpha // 255).astype(np.uint8)
    tifffile.imwrite(
        path,
        np.concatenate((colours, alpha), axis=2),
        photometric="rgb",
        extrasamples=[alpha_kind],
        tile=(128, 128),
        compression="deflate",
    )
    return path


def write_scn(path: Path, pixels: NDArray[np.uint8], x: int, y: int) -> Path:
    """Leica slide whose scanned area lies at (x, y) of a larger one: OpenSlide says its bounds."""
    nm, height, width = 500, *pixels.shape[:2]
    whole_size, macro = ((width + 2 * x) * nm, (height + 2 * y) * nm), np.full((48, 80, 3), 240)
    levels = (pixels, halved(halved(pixels)))
    images = "".join(
        f'<image name="{name}" uuid="urn:uuid:{name}">'
        "<creationDate>2020-01-01T00:00:00Z</creationDate>"
        f'<device model="Leica SCN400" version="1"/>{_scn_levels(parts, first)}'
        f'<view sizeX="{size[0]}" sizeY="{size[1]}" offsetX="{left * nm}" offsetY="{top * nm}"'
        ' spacingZ="0"/><scanSettings><objectiveSettings>'
        f"<objective>{objective}</objective></objectiveSettings><illuminationSettings>"
        "<numericalAperture>0.4</numericalAperture>"
        "<illuminationSource>brightfield</illuminationSource></illuminationSettings>"
        "</scanSettings></image>"
        for name, parts, first, size, left, top, objective in (
            ("macro", (macro,), 0, whole_size, 0, 0, 0.6),
            ("slide", levels, 1, (width * nm, height * nm), x, y, 20),
        )
    )
    description = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" '
        f'uuid="urn:uuid:1"><collection name="one" uuid="urn:uuid:2" sizeX="{whole_size[0]}" '
        f'sizeY="{whole_size[1]}"><barcode>none</barcode>{images}</collection></scn>'
    )
    options = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate", "metadata": None}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(macro.astype(np.uint8), description=description, **options)
        for each in levels:
            file.write(each, **options, resolution=(20_000, 20_000), resolutionunit=3)
    return path


def _scn_levels(parts: tuple[NDArray[np.uint8], ...], first: int) -> str:
    rows = "".join(
        f'<dimension sizeX="{part.shape[1]}" sizeY="{part.shape[0]}" r="{r}" ifd="{first + r}"/>'
        for r, part in enumerate(parts)
    )
    return f'<pixels sizeX="{parts[0].shape[1]}" sizeY="{parts[0].shape[0]}">{rows}</pixels>'


def write_header(
    path: Path,
    width: int,
    height: int,
    *,
    rows_per_strip: int | None = None,
    tile_px: int | None = None,
    n_chunks: int = 1,
) -> Path:
    """A TIFF of little but a header that promises an RGB image of any size."""
    tags: list[tuple[int, int, int, int]] = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (277, 3, 1, 3),
        (284, 3, 1, 1),
    ]
    n_entries = len(tags) + (5 if tile_px else 4)
    data_at = 8 + 2 + 12 * n_entries + 4
    bits_at, offsets_at = data_at, data_at + 6
    counts_at = offsets_at + 4 * n_chunks
    pixels_at_byte = counts_at + 4 * n_chunks
    one = n_chunks == 1
    tags.append((258, 3, 3, bits_at))
    offsets = (4, n_chunks, pixels_at_byte if one else offsets_at)
    counts = (4, n_chunks, 16 if one else counts_at)
    if tile_px:
        tags += [(322, 4, 1, tile_px), (323, 4, 1, tile_px), (324, *offsets), (325, *counts)]
    else:
        tags += [(273, *offsets), (278, 4, 1, rows_per_strip or height), (279, *counts)]
    content = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    for tag, kind, count, value in sorted(tags):
        content += struct.pack("<HHII", tag, kind, count, value)
    content += struct.pack("<I", 0) + struct.pack("<3H", 8, 8, 8)
    content += struct.pack(f"<{n_chunks}I", *[pixels_at_byte] * n_chunks)
    content += struct.pack(f"<{n_chunks}I", *[16] * n_chunks)
    path.write_bytes(content + bytes(16))
    return path


class ArrayReader(PyramidReader):
    """A slide in memory, with any bounds: what the real formats with bounds cannot be made of."""

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        *,
        shown: tuple[int, int, int, int] | None = None,
        n_levels: int = 1,
    ) -> None:
        self._levels = [pixels]
        for _ in range(n_levels - 1):
            self._levels.append(halved(self._levels[-1]))
        sizes = tuple((level.shape[1], level.shape[0]) for level in self._levels)
        x, y, width, height = shown or (0, 0, *sizes[0])
        super().__init__(
            SlideInfo(
                path=Path("in-memory.tif"),
                width=width,
                height=height,
                mpp=None,
                level_downsamples=tuple(float(2**level) for level in range(n_levels)),
                reader="array",
                origin=(x, y),
            ),
            sizes,
        )

    def close(self) -> None:
        self._levels = []

    def _read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        pixels = self._levels[level]
        assert 0 <= x < x + width <= pixels.shape[1]
        assert 0 <= y < y + height <= pixels.shape[0]
        return pixels[y : y + height, x : x + width]
