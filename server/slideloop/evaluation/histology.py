"""Pixels that look like stained tissue, made block by block as a pure function of the position.

Owns how each zone looks: its dyes, nuclei and fibres, and how dyes become colours. It knows
nothing of files, pyramids or truth formats; where the tissues lie is in `tissue_layout`.

A block is rendered whole, with a margin that holds everything that reaches into it, so a pixel
comes from exactly one block and never depends on the window that was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from slideloop.evaluation.tissue_layout import (
    BLOCK_PX,
    FIBRE,
    LYMPH,
    MARGIN_PX,
    NEST,
    PADDED_PX,
    SEPTUM,
    STEP_PX,
    WALL,
    Waves,
    chance,
    fibre_phase,
    lattice,
    tissue_map,
    to_pixels,
    zones,
)

_GRAIN_PERIOD_PX = 1543  # prime, so that no two patches of a grid share their grain
_REACH_PX = 20  # nuclei whose centres lie this far outside a block still reach into it

#                        glass nest septum lumen fibre lymph wall vacuole
_EOSIN = np.array([4, 92, 112, 9, 124, 62, 120, 5], np.uint8)
_HAEMATOXYLIN = np.array([3, 52, 10, 5, 9, 48, 20, 3], np.uint8)
_FIBROUS = np.array([0, 0, 255, 0, 255, 0, 0, 0], np.uint8)

# Optical density per unit of dye (red, green, blue).
_OD_HAEMATOXYLIN = np.array([0.00265, 0.00330, 0.00150])
_OD_EOSIN = np.array([0.00045, 0.00215, 0.00110])


@dataclass(frozen=True)
class _Nuclei:
    """How the nuclei of one zone are strewn and drawn; lengths in pixels, dyes 0..255."""

    salt: int
    spacing: float
    jitter: float
    radius: tuple[float, float]
    elongation: tuple[float, float]
    irregularity: float
    share: float  # of the lattice places that hold a nucleus
    fill: tuple[int, int]
    rim: int | None = None
    nucleolus: int | None = None
    along_fibres: bool = False


_NUCLEI: dict[int, _Nuclei] = {
    NEST: _Nuclei(11, 20.0, 0.55, (7.0, 10.8), (1.0, 1.7), 0.17, 0.97, (104, 168), 205, 232),
    LYMPH: _Nuclei(12, 12.6, 0.7, (4.6, 5.9), (1.0, 1.2), 0.05, 0.93, (165, 225)),
    FIBRE: _Nuclei(
        13, 46.0, 0.9, (2.9, 3.8), (3.0, 6.0), 0.05, 0.55, (150, 215), along_fibres=True
    ),
    SEPTUM: _Nuclei(
        14, 24.0, 0.8, (2.5, 3.3), (2.4, 4.5), 0.05, 0.55, (150, 210), along_fibres=True
    ),
    WALL: _Nuclei(15, 15.0, 0.9, (2.8, 3.8), (1.6, 3.0), 0.05, 0.42, (190, 235)),
}


_TURN = np.arange(64) * (2 * np.pi / 64)
_COS, _SIN = np.cos(_TURN).astype(np.float32), np.sin(_TURN).astype(np.float32)
_CORNERS = np.arange(0, 64, 64 // 16)  # a nucleus is a polygon of 16 corners
_SUBPIXEL_BITS = 4
_NUCLEOLUS = np.array([[-1.3, -1.3], [1.3, -1.3], [1.3, 1.3], [-1.3, 1.3]], np.float32)


@dataclass(frozen=True)
class _Ground:
    """What nuclei are strewn on: a padded block whose corner is (x0, y0), px0."""

    seed: int
    x0: int
    y0: int
    zone: NDArray[np.uint8]
    phase: NDArray[np.float32]  # of the fibres, on the smooth lattice


@dataclass(frozen=True)
class _Strewn:
    """Nuclei of one kind: centres in pixels of the padded block, and their lattice places."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    column: NDArray[np.int64]
    row: NDArray[np.int64]


def _strewn(kind: _Nuclei, ground: _Ground, part: int) -> _Strewn:
    """Nuclei of `kind` whose centres lie in the zone `part` of the block or just outside it."""
    first_x, first_y = ground.x0 + MARGIN_PX - _REACH_PX, ground.y0 + MARGIN_PX - _REACH_PX
    reach = BLOCK_PX + 2 * _REACH_PX
    columns = np.arange(first_x // kind.spacing, (first_x + reach) // kind.spacing + 1)
    rows = np.arange(first_y // kind.spacing, (first_y + reach) // kind.spacing + 1)
    column, row = (a.ravel() for a in np.meshgrid(columns.astype(np.int64), rows.astype(np.int64)))

    def luck(n: int) -> NDArray[np.float32]:
        return chance(ground.seed, kind.salt * 100 + n, column, row)

    # Every other row is shifted by half, or the eye finds the lattice.
    x = column + 0.5 * (row % 2) + 0.5 + kind.jitter * (luck(1) - 0.5)
    y = row + 0.5 + kind.jitter * (luck(2) - 0.5)
    x, y = x * kind.spacing - ground.x0, y * kind.spacing - ground.y0
    low, high = MARGIN_PX - _REACH_PX, MARGIN_PX + BLOCK_PX + _REACH_PX
    there = (x >= low) & (x < high) & (y >= low) & (y < high) & (luck(0) < kind.share)
    x, y, column, row = x[there], y[there], column[there], row[there]
    there = ground.zone[y.astype(np.int64), x.astype(np.int64)] == part
    return _Strewn(
        x[there].astype(np.float32), y[there].astype(np.float32), column[there], row[there]
    )


def _fibre_turn(
    phase: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Direction of the fibres at the given points, in 64ths of a turn."""
    down, across = (np.asarray(slope) for slope in np.gradient(phase))
    column, row = x.astype(np.int64) // STEP_PX, y.astype(np.int64) // STEP_PX
    angle = np.arctan2(across[row, column], -down[row, column])
    return np.rint(angle * (64 / (2 * np.pi))).astype(np.int64)


def _subpixels(points: NDArray[np.floating]) -> NDArray[np.int32]:
    return np.rint((points - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)


def _draw_nuclei(canvas: NDArray[np.uint8], kind: _Nuclei, ground: _Ground, part: int) -> None:
    """Draw the nuclei of one kind that lie in the zone `part` onto `canvas` (mutated)."""
    nuclei = _strewn(kind, ground, part)

    def luck(n: int) -> NDArray[np.float32]:
        return chance(ground.seed, kind.salt * 100 + n, nuclei.column, nuclei.row)

    radius = kind.radius[0] + (kind.radius[1] - kind.radius[0]) * luck(3)
    stretch = np.sqrt(kind.elongation[0] + (kind.elongation[1] - kind.elongation[0]) * luck(4) ** 2)
    turn = (luck(5) * 64).astype(np.int64)
    if kind.along_fibres:
        turn = _fibre_turn(ground.phase, nuclei.x, nuclei.y) + turn // 9 - 3
    lobes = (2 * _CORNERS[None, :] + (luck(6) * 64).astype(np.int64)[:, None]) % 64
    bumps = (3 * _CORNERS[None, :] + (luck(7) * 64).astype(np.int64)[:, None]) % 64
    swell = 1 + kind.irregularity * (0.6 * _COS[lobes] + 0.7 * _SIN[bumps])
    u = (radius * stretch)[:, None] * swell * _COS[_CORNERS]
    v = (radius / stretch)[:, None] * swell * _SIN[_CORNERS]
    cos, sin = _COS[turn % 64], _SIN[turn % 64]
    across = nuclei.x[:, None] + cos[:, None] * u - sin[:, None] * v
    down = nuclei.y[:, None] + sin[:, None] * u + cos[:, None] * v
    outlines = _subpixels(np.stack([across, down], axis=-1))
    # Outlines of one call must not overlap (they would cancel each other out), so neighbours
    # on the lattice go to different calls, and each call has its own darkness.
    group = (nuclei.column % 2) * 2 + nuclei.row % 2 + 4 * (luck(8) * 3).astype(np.int64)
    for number in range(12):
        members = list(outlines[group == number])
        if not members:
            continue
        level = kind.fill[0] + (kind.fill[1] - kind.fill[0]) * (number * 5 % 12) / 11
        cv2.fillPoly(canvas, members, (level,), cv2.LINE_AA, _SUBPIXEL_BITS)
        if kind.rim is not None:
            cv2.polylines(canvas, members, True, (kind.rim,), 1, cv2.LINE_AA, _SUBPIXEL_BITS)
    if kind.nucleolus is not None:
        offset = radius * (luck(9) - 0.3)
        centre = np.stack([nuclei.x + offset * cos, nuclei.y + offset * sin], axis=-1)[offset > 0]
        squares = _subpixels(centre[:, None, :] + _NUCLEOLUS)
        cv2.fillPoly(canvas, list(squares), (kind.nucleolus,), cv2.LINE_AA, _SUBPIXEL_BITS)


@lru_cache(maxsize=2)
def _grain(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Fine and coarse grain around 128, uint8, one period and a padded block on."""
    rng = np.random.default_rng((seed, 90))
    edge = 16
    grains = []
    for blur, spread in ((0.8, 7.0), (2.2, 11.0)):
        noise = rng.standard_normal((_GRAIN_PERIOD_PX, _GRAIN_PERIOD_PX), np.float32)
        field = cv2.GaussianBlur(np.pad(noise, edge, "wrap"), (0, 0), blur)[edge:-edge, edge:-edge]
        grain = np.clip(128 + spread * field / field.std(), 0, 255).astype(np.uint8)
        grains.append(np.pad(grain, (0, PADDED_PX), "wrap"))
    return grains[0], grains[1]


def _dyes_to_rgb(haematoxylin: MatLike, eosin: MatLike) -> NDArray[np.uint8]:
    """Beer-Lambert: two dye maps, uint8 (h, w), to RGB, uint8 (h, w, 3)."""
    channels = []
    amount = np.arange(256)
    for of_haematoxylin, of_eosin in zip(_OD_HAEMATOXYLIN, _OD_EOSIN, strict=True):
        through_haematoxylin = np.rint(250 * 10 ** (-of_haematoxylin * amount)).astype(np.uint8)
        through_eosin = np.rint(255 * 10 ** (-of_eosin * amount)).astype(np.uint8)
        channels.append(
            cv2.multiply(
                cv2.LUT(haematoxylin, through_haematoxylin),
                cv2.LUT(eosin, through_eosin),
                scale=1 / 255,
            )
        )
    return np.asarray(cv2.merge(channels), np.uint8)


@lru_cache(maxsize=2)
def _fibre_table(seed: int) -> NDArray[np.uint8]:
    """How pale a fibre is at each 256th of its width, uint8, shape (256 fibres * 256,)."""
    rng = np.random.default_rng((seed, 80))
    across = np.arange(256) / 256
    shade = rng.uniform(0, 60, (256, 1))
    gap = rng.uniform(0.05, 0.42, (256, 1))
    depth = rng.uniform(40, 215, (256, 1))
    # Each fibre goes over into the next one's shade, with a pale gap between the two.
    level = shade + (np.roll(shade, -1, axis=0) - shade) * np.clip((across - 0.8) / 0.2, 0, 1)
    distance = np.minimum(np.abs(across - 0.55), 0.5)
    level = level + depth * np.exp(-((distance / gap) ** 2) * 4)
    return np.clip(level, 0, 255).astype(np.uint8).ravel()


def _eosin_map(
    zone: NDArray[np.uint8],
    phase: NDArray[np.float32],
    openness: NDArray[np.float32],
    seed: int,
) -> MatLike:
    """Eosin per pixel; `openness` (smooth lattice, 0..1) says how far apart the fibres lie."""
    eosin = np.take(_EOSIN, zone)
    fibrous = np.take(_FIBROUS, zone)
    if fibrous.any():
        # In 256ths of a fibre; the table repeats after 256 fibres.
        place = (to_pixels(phase) * np.float32(256)).astype(np.int32).astype(np.uint16)
        pale = np.take(_fibre_table(seed), place)
        pale = cv2.multiply(pale, to_pixels(openness * 255).astype(np.uint8), scale=1 / 255)
        eosin = cv2.subtract(eosin, cv2.bitwise_and(pale, fibrous))
    return eosin


@lru_cache(maxsize=8)
def tissue_block(seed: int, width: int, height: int, column: int, row: int) -> NDArray[np.uint8]:
    """Tissue classes of one block.

    Returns
    -------
    ndarray of uint8, shape (BLOCK_PX, BLOCK_PX)
        GLASS, TUMOUR, STROMA, LYMPHOID or ADIPOSE; read-only.
    """
    x0, y0 = column * BLOCK_PX - MARGIN_PX, row * BLOCK_PX - MARGIN_PX
    tissue = _cropped(tissue_map((seed, width, height), x0, y0))
    tissue.flags.writeable = False
    return tissue


@lru_cache(maxsize=8)
def pixel_block(seed: int, width: int, height: int, column: int, row: int) -> NDArray[np.uint8]:
    """Pixels of one block.

    Parameters
    ----------
    seed, width, height : int
        The scene; lengths in px0.
    column, row : int
        The block, which begins at (column * BLOCK_PX, row * BLOCK_PX).

    Returns
    -------
    ndarray of uint8, shape (BLOCK_PX, BLOCK_PX, 3)
        RGB, read-only.
    """
    x0, y0 = column * BLOCK_PX - MARGIN_PX, row * BLOCK_PX - MARGIN_PX
    tissue = tissue_map((seed, width, height), x0, y0)
    zone = zones((seed, width, height), tissue, x0, y0)
    left, top = x0 % _GRAIN_PERIOD_PX, y0 % _GRAIN_PERIOD_PX
    fine, coarse = (grain[top : top + PADDED_PX, left : left + PADDED_PX] for grain in _grain(seed))
    phase = fibre_phase(seed, x0, y0)
    x, y = lattice(x0, STEP_PX), lattice(y0, STEP_PX)
    openness = np.clip(0.42 + 0.33 * Waves(seed, 51, 70, 700, 14)(x, y), 0.05, 1)
    eosin = _eosin_map(zone, phase, openness, seed)
    haematoxylin = np.take(_HAEMATOXYLIN, zone)
    present = np.flatnonzero(np.bincount(zone.ravel(), minlength=9))
    ground = _Ground(seed, x0, y0, zone, phase)
    for part in sorted(_NUCLEI.keys() & set(present.tolist())):
        _draw_nuclei(haematoxylin, _NUCLEI[part], ground, part)
    # The grain is in proportion to the dye, so glass stays clean.
    haematoxylin = cv2.multiply(haematoxylin, coarse, scale=1 / 128)
    eosin = cv2.multiply(eosin, coarse, scale=1 / 128)
    haematoxylin = cv2.GaussianBlur(haematoxylin, (3, 3), 0.7)
    eosin = cv2.GaussianBlur(eosin, (3, 3), 0.8)
    haematoxylin = cv2.addWeighted(haematoxylin, 1.0, fine, 0.25, -0.25 * 128)
    pixels = np.ascontiguousarray(_dyes_to_rgb(_cropped(haematoxylin), _cropped(eosin)))
    pixels.flags.writeable = False
    return pixels


def _cropped(padded: MatLike) -> NDArray[np.uint8]:
    inner = slice(MARGIN_PX, MARGIN_PX + BLOCK_PX)
    return np.ascontiguousarray(padded[inner, inner], np.uint8)
