"""From files to what is experimented on: slides with their truth, tile folders.

Owns the meeting of truth and indexed patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slideloop.errors import InvalidInputError, TruthError
from slideloop.evaluation.tiles import read_tile_folder
from slideloop.evaluation.truth import annotated_area, canonical_positive, read_truth
from slideloop.evaluation.truth_cells import CellTruth, cell_labels, cell_shares
from slideloop.features.environment import environment
from slideloop.features.sources import TileFile, TilePatches
from slideloop.features.workspace import slide_record
from slideloop.learning.database import place_of, slide_of
from slideloop.masks.cells import cell_edges

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Literal

    from numpy.typing import NDArray

    from slideloop.evaluation.truth import Truth
    from slideloop.features.encoders import Encoder
    from slideloop.features.store import FeatureStore
    from slideloop.features.workspace import IndexedSlide
    from slideloop.slides.grid import Grid


@dataclass(frozen=True)
class PatchTruth:
    """The truth of one slide's or tile folder's indexed patches.

    Attributes
    ----------
    label : ndarray of int16, shape (n,)
        Class of each patch, in index order.
    grid_label : ndarray of int16, shape (n_rows, n_columns), or None
        Class of every cell; None for tiles, as the three below.
    boundary : ndarray of bool, shape (n_rows, n_columns), or None
    cell_share : ndarray of float64, shape (n_rows, n_columns), or None
        Positive share of the square that the mask draws for each cell.
    cell_area : ndarray of float64, shape (n_rows, n_columns), or None
        Area of that square in level-0 pixels squared.
    annotated_area : float
        Positive area of the slide in level-0 pixels squared.
    """

    label: NDArray[np.int16]
    grid_label: NDArray[np.int16] | None = None
    boundary: NDArray[np.bool_] | None = None
    cell_share: NDArray[np.float64] | None = None
    cell_area: NDArray[np.float64] | None = None
    annotated_area: float = 0.0


@dataclass(frozen=True)
class Subject:
    """What is experimented on.

    Attributes
    ----------
    stores : list of FeatureStore
    slides : list of IndexedSlide or None
        None for a tile folder.
    records : list of dict
        What studies record of each.
    truths : list of PatchTruth
    classes : tuple of str
        The positive class first.
    search_slides, query_slides : list of int
        Which slides patches are shown from, and queries are drawn from.
    environment : dict
        What replay compares.
    """

    stores: list[FeatureStore]
    slides: list[IndexedSlide | None]
    records: list[dict[str, Any]]
    truths: list[PatchTruth]
    classes: tuple[str, ...]
    search_slides: list[int]
    query_slides: list[int]
    environment: dict[str, Any]

    @property
    def of_tiles(self) -> bool:
        """Whether these are folders of tiles, search database and held-out, not slides."""
        return self.slides[0] is None

    def label(self, ref: int) -> str:
        """Return the true class of a patch."""
        return self.classes[self.truths[slide_of(ref)].label[place_of(ref)]]

    def distribution(self) -> list[dict[str, Any]]:
        """Return what there is to find: of each slide or tile folder its patches by true class.

        Returns
        -------
        list of dict
            `slide` (its name), `patches` (class to number), `n_patches`; of a slide also `n_cells`
            (of its grid, those that the filter dropped too) and `n_boundary` (of the kept patches).
        """
        rows: list[dict[str, Any]] = []
        for record, store, truth in zip(self.records, self.stores, self.truths, strict=True):
            counts = np.bincount(truth.label, minlength=len(self.classes)).tolist()
            row = {
                "slide": record["name"],
                "patches": dict(zip(self.classes, counts, strict=True)),
                "n_patches": len(store),
            }
            if truth.grid_label is not None and truth.boundary is not None:
                column, line = store.cells.T
                row["n_cells"] = truth.grid_label.size
                row["n_boundary"] = int(truth.boundary[line, column].sum())
            rows.append(row)
        return rows


def read_truths(
    paths: Sequence[Path], slides: Sequence[tuple[int, int]], positive: str, outside: str | None
) -> tuple[list[Truth], str]:
    """Read one truth per slide, before anything costly is begun.

    Parameters
    ----------
    paths : sequence of Path
        In the order of the slides.
    slides : sequence of (width, height)
        Level-0 pixels.
    positive : str
    outside : str or None
        Class of what nobody annotated; None: the format's own.

    Returns
    -------
    truths : list of Truth
    positive : str
        Under its name in the truths.

    Raises
    ------
    InvalidInputError
        If there are not as many truths as slides.
    TruthError
        If one of them cannot be used.
    """
    if len(paths) != len(slides):
        raise InvalidInputError(
            f"For {len(slides)} slides as many truths are needed, but {len(paths)} were given.",
            hint="Give --truth FILE once per slide, in the order of the slides.",
        )
    names = {canonical_positive(path, positive) for path in paths}
    if len(names) > 1:
        raise InvalidInputError(
            f"The truths name {positive!r} differently: {', '.join(sorted(names))}.",
            hint="Use truths of one format.",
        )
    pairs = zip(paths, slides, strict=True)
    truths = [read_truth(p, positive, width, height, outside) for p, (width, height) in pairs]
    return truths, names.pop()


def slide_subject(
    slides: Sequence[IndexedSlide],
    truths: Sequence[Truth],
    positive: str,
    mode: Literal["classes", "relevance"],
    encoder: Encoder,
    *,
    search_slides: Sequence[int] | None = None,
    query_slides: Sequence[int] | None = None,
) -> Subject:
    """Put slides and truths together (algorithm.md 6).

    Raises
    ------
    TruthError
        If the kept patches of the search set are all of one class.
    """
    labelled = [
        cell_labels(cell_shares(truth, slide.grid), truth, positive, mode)
        for slide, truth in zip(slides, truths, strict=True)
    ]
    kept = [_kept(cells, slide) for cells, slide in zip(labelled, slides, strict=True)]
    found = dict.fromkeys(
        cells.classes[i]
        for cells, labels in zip(labelled, kept, strict=True)
        for i in range(len(cells.classes))
        if (labels == i).any()
    )
    if positive not in found or len(found) < 2:
        raise TruthError(
            f"The patches that the filter keeps are all of one kind: {', '.join(found) or 'none'}.",
            hint=f"{positive!r} and something else are needed; try another --patch or --filter.",
        )
    classes = (positive, *(name for name in found if name != positive))
    patch_truths = [
        _patch_truth(cells, classes, slide, truth, positive)
        for cells, slide, truth in zip(labelled, slides, truths, strict=True)
    ]
    stores = [slide.store for slide in slides]
    searched = list(range(len(slides)) if search_slides is None else search_slides)
    return Subject(
        stores=stores,
        slides=list(slides),
        records=[slide.record() for slide in slides],
        truths=patch_truths,
        classes=classes,
        search_slides=searched,
        query_slides=searched if query_slides is None else list(query_slides),
        environment=environment(encoder, stores[0].identity["normalisation"]),
    )


def _kept(cells: CellTruth, slide: IndexedSlide) -> np.ndarray:
    return cells.label[slide.store.cells[:, 1], slide.store.cells[:, 0]]


def _patch_truth(
    cells: CellTruth, classes: tuple[str, ...], slide: IndexedSlide, truth: Truth, positive: str
) -> PatchTruth:
    # A class of dropped cells only is no class of the study; such cells are never looked at.
    index = np.array([classes.index(n) if n in classes else -1 for n in cells.classes], np.int16)
    grid_label = index[cells.label]
    drawn = cell_shares(truth, slide.grid, "cell")
    share = drawn[truth.classes.index(positive)] if positive in truth.classes else 1 - drawn.sum(0)
    return PatchTruth(
        label=grid_label[slide.store.cells[:, 1], slide.store.cells[:, 0]],
        grid_label=grid_label,
        boundary=cells.boundary,
        cell_share=np.clip(share, 0, 1),
        cell_area=_cell_area(slide.grid, slide.width, slide.height),
        annotated_area=annotated_area(truth, positive),
    )


def _cell_area(grid: Grid, width: int, height: int) -> np.ndarray:
    """Return the area of the square that a mask draws for each cell, level-0 pixels squared."""
    x = np.diff(cell_edges(grid.n_columns, grid.patch_px0, grid.stride_px0, width))
    y = np.diff(cell_edges(grid.n_rows, grid.patch_px0, grid.stride_px0, height))
    return np.outer(y, x).astype(np.float64)


def tile_sources(search: Path, held_out: Path) -> list[TilePatches]:
    """Read the folders of the CRC experiment: search database and held-out tiles.

    Raises
    ------
    TruthError
        If a folder holds no tiles, or a held-out class is not in the search folder.
    """
    folders = [read_tile_folder(search), read_tile_folder(held_out)]
    extra = sorted(set(folders[1].classes) - set(folders[0].classes))
    if extra:
        raise TruthError(
            f"{held_out} has classes that {search} has not: {', '.join(extra)}.",
            hint="Give folders with the same classes, or take those out.",
        )
    return [
        TilePatches([TileFile(path, name) for name, path in folder.files], str(path))
        for folder, path in zip(folders, (search, held_out), strict=True)
    ]


def tile_subject(
    sources: Sequence[TilePatches],
    stores: Sequence[FeatureStore],
    encoder: Encoder,
    positive: str | None = None,
) -> Subject:
    """Put tile folders and their features together.

    Raises
    ------
    InvalidInputError
        If `positive` is no class of the search folder.
    """
    names = sorted({tile.class_name for tile in sources[0].tiles})
    if positive is not None and positive not in names:
        raise InvalidInputError(
            f"There is no class folder {positive!r}.", hint=f"Classes: {', '.join(names)}."
        )
    classes = tuple(sorted(names, key=lambda name: name != positive)) if positive else tuple(names)
    truths = [
        PatchTruth(
            np.array(
                [classes.index(source.tiles[i].class_name) for i in store.cells[:, 0]], np.int16
            )
        )
        for source, store in zip(sources, stores, strict=True)
    ]
    return Subject(
        stores=list(stores),
        slides=[None] * len(stores),
        records=[slide_record(store) for store in stores],
        truths=truths,
        classes=classes,
        search_slides=[0],
        query_slides=[0],
        environment=environment(encoder, stores[0].identity["normalisation"]),
    )
