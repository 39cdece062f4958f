"""Where the tissues of a generated scene lie, and the finer parts each of them consists of.

Owns the smooth random fields, the regions and the zones (nests, septa, fibres, ...). It knows
nothing of dyes, nuclei or colours (`histology`), nor of files.

Everything is computed for one padded block at a time and depends on level-0 positions only.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

BLOCK_PX = 1024
MARGIN_PX = 40  # more than twice the reach of a nucleus
PADDED_PX = BLOCK_PX + 2 * MARGIN_PX
STEP_PX = 8  # lattice of the smooth fields
_WALL_STEP_PX = 4  # lattice of the cell walls, which have a crease

GLASS, TUMOUR, STROMA, LYMPHOID, ADIPOSE = range(5)
# What a pixel is made of, finer than its tissue.
NEST, SEPTUM, LUMEN, FIBRE, LYMPH, WALL, VACUOLE = range(1, 8)

Scenery = tuple[int, int, int]
"""Seed, width and height (px0) of a scene."""


def chance(
    seed: int, salt: int, column: NDArray[np.int64], row: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Draw the uniform numbers that belong to lattice places, whoever asks and when.

    Parameters
    ----------
    seed, salt : int
        The scene's seed, and a number of its own for each use.
    column, row : ndarray of int64, shapes that broadcast
        The lattice places.

    Returns
    -------
    ndarray of float32, the broadcast shape
        In [0, 1).
    """
    mixed = (
        column.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        + row.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
        + np.uint64((seed * 0x165667B19E3779F9 + salt * 0x27D4EB2F165667C5) % 2**64)
    )
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


class Waves:
    """A smooth random field of unit variance: plane waves, evaluated as one matrix product."""

    def __init__(self, seed: int, salt: int, shortest_px: float, longest_px: float, n: int) -> None:
        rng = np.random.default_rng((seed, salt))
        wavelength = shortest_px * (longest_px / shortest_px) ** rng.random(n)
        # Spread directions, so that no field degenerates to stripes.
        direction = (np.arange(n) + rng.random(n)) * np.pi / n
        self._kx = 2 * np.pi / wavelength * np.cos(direction)
        self._ky = 2 * np.pi / wavelength * np.sin(direction)
        self._phase = rng.random(n) * 2 * np.pi
        weight = wavelength**0.8
        self._weight = weight * np.sqrt(2 / np.sum(weight**2))

    def __call__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
        """Values at the crossings of `x` and `y`, shape (len(y), len(x))."""
        across = np.outer(x, self._kx) + self._phase
        down = np.outer(y, self._ky)
        left = np.hstack([np.cos(down) * self._weight, -np.sin(down) * self._weight])
        right = np.hstack([np.cos(across), np.sin(across)])
        return left.astype(np.float32) @ right.astype(np.float32).T


class Regions:
    """Where the tissues of a scene lie: signed fields, positive inside.

    Thresholds are quantiles over the scene, so every seed gives every tissue its share.
    """

    def __init__(self, seed: int, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._edge = Waves(seed, 1, 250, 2200, 14)
        self._fields = {
            TUMOUR: Waves(seed, 2, 420, 4200, 18),
            LYMPHOID: Waves(seed, 3, 380, 3400, 18),
            ADIPOSE: Waves(seed, 4, 380, 3400, 18),
        }
        self._threshold = dict.fromkeys(self._fields, np.float32(0))
        x = np.linspace(0, width, 240)
        y = np.linspace(0, height, 200)
        free = self._outline(x, y) > 0
        for tissue, share in ((TUMOUR, 0.36), (LYMPHOID, 0.27), (ADIPOSE, 0.22)):
            field = self._fields[tissue](x, y)
            if free.any():
                self._threshold[tissue] = np.float32(np.quantile(field[free], 1 - share))
            free &= field <= self._threshold[tissue]

    def _outline(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
        u = ((2 * x / self._width - 1) / 0.93).astype(np.float32)
        v = ((2 * y / self._height - 1) / 0.91).astype(np.float32)
        distance = np.sqrt(np.sqrt(u[None, :] ** 4 + v[:, None] ** 4))
        # The waviness is given in pixels and must not grow with the slide.
        swing = min(0.11, 500 / min(self._width, self._height))
        return 1 - distance - swing * (1 + 0.5 * self._edge(x, y)) + 0.4 * swing

    def raw(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], dict[int, NDArray[np.float32]]]:
        """Outline of the section, and the fields that claim parts of it, first come first served.

        Parameters
        ----------
        x, y : ndarray of float64, shape (n_x,) and (n_y,)
            Level-0 pixels, ascending.

        Returns
        -------
        outline : ndarray of float32, shape (n_y, n_x)
            Positive on the section, negative on glass.
        claims : dict of int to ndarray of float32, shape (n_y, n_x)
            Per tissue, in order of precedence, positive where it claims; STROMA takes the rest.
        """
        claims = {k: waves(x, y) - self._threshold[k] for k, waves in self._fields.items()}
        return self._outline(x, y), claims

    def fields(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> dict[int, NDArray[np.float32]]:
        """Signed field per tissue at the crossings of `x` and `y`; at most one is positive.

        Parameters
        ----------
        x, y : ndarray of float64, shape (n_x,) and (n_y,)
            Level-0 pixels, ascending.

        Returns
        -------
        dict of int to ndarray of float32, shape (n_y, n_x)
            One continuous field for each of TUMOUR, STROMA, LYMPHOID, ADIPOSE.
        """
        rest, claims = self.raw(x, y)
        fields = {}
        for tissue, claim in claims.items():
            fields[tissue] = np.minimum(rest, claim)
            rest = np.minimum(rest, -claim)
        fields[STROMA] = rest
        return fields


@lru_cache(maxsize=8)
def regions(seed: int, width: int, height: int) -> Regions:
    """Return the regions of a scene, made once."""
    return Regions(seed, width, height)


def lattice(origin: int, step: int) -> NDArray[np.float64]:
    """Centres of the steps along one side of a padded block, px0."""
    return origin + np.arange(0, PADDED_PX, step, dtype=np.float64) + (step - 1) / 2


def to_pixels(field: MatLike) -> NDArray[np.float32]:
    """Interpolate a lattice field to every pixel of the padded block, float32, two dimensions."""
    full = cv2.resize(field, (PADDED_PX, PADDED_PX), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full, np.float32)


def tissue_map(scene: Scenery, x0: int, y0: int) -> NDArray[np.uint8]:
    """Tissue class of each pixel of a padded block.

    Parameters
    ----------
    scene : Scenery
        Seed and size of the scene.
    x0, y0 : int
        Upper left corner of the padded block, px0.

    Returns
    -------
    ndarray of uint8, shape (PADDED_PX, PADDED_PX)
        GLASS, TUMOUR, STROMA, LYMPHOID or ADIPOSE.
    """
    outline, claims = regions(*scene).raw(lattice(x0, STEP_PX), lattice(y0, STEP_PX))
    tissue = np.zeros((PADDED_PX, PADDED_PX), np.uint8)
    if outline.max() <= 0:
        return tissue
    tissue[:] = STROMA
    for label, claim in reversed(claims.items()):
        if claim.max() > 0:
            tissue[to_pixels(claim) > 0] = label
    if outline.min() <= 0:
        tissue[to_pixels(outline) <= 0] = GLASS
    return tissue


def _walls(
    seed: int, salt: int, corner: tuple[int, int], cell_px: float, bend_px: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Voronoi cells with bent walls: distance to the site, to the wall (doubled), site's number."""
    x, y = (lattice(origin, _WALL_STEP_PX) for origin in corner)
    bent_x = x[None, :] + bend_px * Waves(seed, salt + 1, 1.2 * cell_px, 3 * cell_px, 7)(x, y)
    bent_y = y[:, None] + bend_px * Waves(seed, salt + 2, 1.2 * cell_px, 3 * cell_px, 7)(x, y)
    bent_x, bent_y = bent_x / cell_px, bent_y / cell_px
    column, row = np.floor(bent_x).astype(np.int64), np.floor(bent_y).astype(np.int64)
    # One table of sites for the block instead of a hash per point and neighbour.
    c0, r0 = int(column.min()) - 1, int(row.min()) - 1
    columns = np.arange(c0, int(column.max()) + 2)[None, :]
    rows = np.arange(r0, int(row.max()) + 2)[:, None]
    site_x = columns - c0 + 0.12 + 0.76 * chance(seed, salt + 3, columns, rows)
    site_y = rows - r0 + 0.12 + 0.76 * chance(seed, salt + 4, columns, rows)
    number = chance(seed, salt + 5, columns, rows)
    px, py = (bent_x - c0).astype(np.float32), (bent_y - r0).astype(np.float32)
    nearest = np.full(px.shape, np.inf, np.float32)
    second = nearest.copy()
    owner = np.zeros_like(nearest)
    flat = (row - r0) * number.shape[1] + (column - c0)
    site_x, site_y = site_x.astype(np.float32).ravel(), site_y.astype(np.float32).ravel()
    for shift_row in (-1, 0, 1):
        for shift_column in (-1, 0, 1):
            place = flat + shift_row * number.shape[1] + shift_column
            distance = (site_x[place] - px) ** 2 + (site_y[place] - py) ** 2
            closer = distance < nearest
            np.minimum(second, np.maximum(distance, nearest), out=second)
            np.copyto(owner, number.ravel()[place], where=closer)
            np.minimum(nearest, distance, out=nearest)
    scale = np.float32(cell_px)
    nearest, second = np.sqrt(nearest) * scale, np.sqrt(second) * scale
    return nearest, second - nearest, owner


def fibre_phase(seed: int, x0: int, y0: int) -> NDArray[np.float32]:
    """Phase of the wavy fibres of a padded block whose corner is (x0, y0), px0.

    Returns
    -------
    ndarray of float32, shape (PADDED_PX / STEP_PX,) * 2
        Fibres passed, on the lattice of the smooth fields.
    """
    x, y = lattice(x0, STEP_PX), lattice(y0, STEP_PX)
    broad = Waves(seed, 41, 700, 2600, 9)(x, y) * 34.0
    wavy = Waves(seed, 42, 110, 260, 13)(x, y) * 1.3
    ragged = Waves(seed, 43, 36, 80, 13)(x, y) * 0.16
    return (x[None, :] / 60 + y[:, None] / 26 + broad + wavy + ragged).astype(np.float32)


def zones(scene: Scenery, tissue: NDArray[np.uint8], x0: int, y0: int) -> NDArray[np.uint8]:
    """Divide the tissues of a padded block into their finer parts.

    Parameters
    ----------
    scene : Scenery
        Seed and size of the scene.
    tissue : ndarray of uint8, shape (PADDED_PX, PADDED_PX)
        Its tissue classes, from `tissue_map`.
    x0, y0 : int
        Upper left corner of the padded block, px0.

    Returns
    -------
    ndarray of uint8, shape (PADDED_PX, PADDED_PX)
        0 for glass, else NEST, SEPTUM, LUMEN, FIBRE, LYMPH, WALL or VACUOLE.
    """
    seed = scene[0]
    zone = np.array([0, NEST, FIBRE, LYMPH, WALL], np.uint8)[tissue]
    present = np.bincount(tissue.ravel(), minlength=5) > 0
    if present[TUMOUR]:
        middle, wall, owner = _walls(seed, 60, (x0, y0), 150.0, 20.0)
        lumen_px = np.clip(owner * 90 - 52, -1, 30).astype(np.float32)
        tumour = tissue == TUMOUR
        zone[tumour & (to_pixels(middle - lumen_px) < 0)] = LUMEN
        zone[tumour & (to_pixels(wall) < 13)] = SEPTUM
    if present[ADIPOSE]:
        _, wall, _ = _walls(seed, 70, (x0, y0), 90.0, 9.0)
        rounded = cv2.GaussianBlur(wall, (0, 0), 1.0)
        zone[(tissue == ADIPOSE) & (to_pixels(rounded) > 9)] = VACUOLE
    return zone
