"""The workspace: where the features of slides are kept, and slides as studies use them.

Owns the folder layout below the workspace and the steps from a file's name to its features.
Knows nothing of labels.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np

from slideloop.errors import GridError, MppNeededError, OutputError, SlideloopError
from slideloop.features import normalisation as normalisations
from slideloop.features.indexing import (
    dataset_normalisation,
    index,
    sample_normalisation,
)
from slideloop.features.normalisation import Normalisation, WorkspaceNormalisation
from slideloop.features.sources import SlidePatches
from slideloop.slides.filters import judge
from slideloop.slides.fingerprint import FingerprintCache, fingerprint
from slideloop.slides.grid import make_grid
from slideloop.slides.opening import check_slide
from slideloop.slides.reader import open_slide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slideloop.features.encoders import Encoder
    from slideloop.features.growing import GrowingStore
    from slideloop.features.sources import PatchSource
    from slideloop.features.store import FeatureStore
    from slideloop.slides.grid import Grid
    from slideloop.slides.reader import SlideInfo, SlideReader

SAME_MPP = 0.10
"""Slides of one study whose um/px differ by more than this share are resampled (1.1)."""


@dataclass(frozen=True)
class PatchOptions:
    """How slides are cut; as in `slideloop.settings.Settings`."""

    patch: int = 256
    stride: int | None = None
    mpp: float | None = None
    assume_mpp: float | None = None
    filter: str = "tissue"


class IndexedSlide:
    """A slide with its features: what a study needs of it.

    Attributes
    ----------
    source : SlidePatches
    store : FeatureStore
    grid : Grid
    width, height : int
        Level-0 pixels.
    """

    def __init__(
        self,
        source: SlidePatches,
        store: FeatureStore,
        encoder: Encoder,
        normalisation: Normalisation,
    ) -> None:
        self.source, self.store = source, store
        self._encoder, self._normalisation = encoder, normalisation
        self.grid: Grid = source.grid
        self.width: int = source.reader.info.width
        self.height: int = source.reader.info.height

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """Place in the index order by (row, column), -1 for dropped cells."""
        places = np.full((self.grid.n_rows, self.grid.n_columns), -1, np.int64)
        places[self.store.cells[:, 1], self.store.cells[:, 0]] = np.arange(len(self.store))
        return places

    def place(self, column: int, row: int) -> int | None:
        """Return a cell's place in the index order, or None if the filter dropped it."""
        place = int(self._places[row, column])
        return None if place < 0 else place

    def embed(
        self, squares: Sequence[tuple[int, int, int, int]]
    ) -> tuple[list[bool], NDArray[np.float16], NDArray[np.float16] | None]:
        """Embed squares off the grid from their pixels (algorithm.md 2).

        Returns
        -------
        is_glass : list of bool
            Per square, whether white and black pixels fill it.
        pooled : ndarray of float16, shape (n, channels)
            Of the squares that are not glass.
        full : ndarray of float16, shape (n, channels, height, width), or None
            None where the store is pooled.
        """
        shape = self.store.manifest["feature_shape"]
        return embed_squares(
            self.source,
            squares,
            self._encoder,
            self._normalisation,
            shape,
            is_full=self.store.kind == "full",
        )

    def record(self) -> dict[str, Any]:
        """Return what a study records of the slide, where it lies now."""
        path = self.source.reader.info.path.resolve()
        record = {"path": str(path), "name": path.name, "mpp": self.source.details["mpp"]}
        return {**slide_record(self.store), **record}


def embed_squares(
    source: SlidePatches,
    squares: Sequence[tuple[int, int, int, int]],
    encoder: Encoder,
    normalisation: Normalisation,
    feature_shape: Sequence[int],
    *,
    is_full: bool,
) -> tuple[list[bool], NDArray[np.float16], NDArray[np.float16] | None]:
    """Embed squares of a slide; what is given and returned is as in `IndexedSlide.embed`."""
    patches = [source.read_square(square) for square in squares]
    is_glass = [judge(patch).background for patch in patches]
    kept = [patch for patch, glass in zip(patches, is_glass, strict=True) if not glass]
    channels, height, width = feature_shape
    full = np.zeros((0, channels, height, width), np.float16)
    pooled = np.zeros((0, channels), np.float16)
    if kept:
        full, pooled = encoder.features(np.stack(kept), normalisation)
    return is_glass, pooled, full if is_full else None


def slide_record(store: FeatureStore | GrowingStore) -> dict[str, Any]:
    """Return what a study records of a slide or tile folder: identity, place and size."""
    keys = ("path", "width", "height", "mpp", "n_columns", "n_rows")
    details = store.manifest["details"]
    identity = store.identity
    return {
        "id": store.id,
        "name": store.manifest["name"],
        "n_patches": len(store),
        **{key: details[key] for key in keys if key in details},
        **identity,
    }


def grid_of(info: SlideInfo, options: PatchOptions, target_mpp: float | None) -> Grid:
    """Lay the grid on a slide.

    Parameters
    ----------
    info : SlideInfo
        With the um/px that counts.
    options : PatchOptions
    target_mpp : float or None
        um/px to resample to.

    Raises
    ------
    GridError, MppNeededError
        As `make_grid`; the message names the slide.
    """
    try:
        return make_grid(
            info.width, info.height, info.mpp, options.patch, options.stride, target_mpp
        )
    except (GridError, MppNeededError) as err:
        raise type(err)(f"{info.path.name}: {err.message}", hint=err.hint) from err


def patches_of(
    reader: SlideReader, grid: Grid, rule: str, mark: str, mpp: float | None
) -> SlidePatches:
    """Return the patches of an open slide, recorded with the um/px that counts for it."""
    source = SlidePatches(reader, grid, rule, mark)
    source.details["mpp"] = mpp
    return source


class Workspace:
    """A folder with feature stores, made if it is not there.

    Raises
    ------
    OutputError
        If it cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.features = root / "features"
        try:
            self.features.mkdir(parents=True, exist_ok=True)
            # Not an empty file: a full disk takes those.
            with TemporaryFile(dir=root) as probe:
                probe.write(b"\0" * 65536)
        except OSError as err:
            raise OutputError(
                f"The workspace {root} cannot be written ({err.strerror}).",
                hint="Choose another one with --workspace DIR.",
            ) from err
        self._fingerprints = FingerprintCache(root / "fingerprints.json")
        self._readers = ExitStack()

    def close(self) -> None:
        """Close the slides that were opened here."""
        self._readers.close()

    def open_slides(
        self, paths: Sequence[Path], options: PatchOptions, like: SlidePatches | None = None
    ) -> list[SlidePatches]:
        """Check, open and grid the slides that are worked on together.

        A slide whose um/px differ by more than 10 % from the first one's is resampled to it
        (algorithm.md 1.1).

        Parameters
        ----------
        paths : sequence of Path
        options : PatchOptions
        like : SlidePatches, optional
            First slide of the study that these come to; None: the first of `paths`.

        Raises
        ------
        SlideNotFoundError, UnreadableSlideError, NotRgbError
            If a file is not a slide that can be used.
        MppNeededError
            If um/px is asked for and not known.
        GridError
            If a slide is smaller than a patch.
        """
        infos = [self._checked(path, options) for path in paths]
        first_name, first_mpp = infos[0].path.name, infos[0].mpp
        if like is not None:
            first_name, first_mpp = like.name, like.details["mpp"]
        for info in infos:
            if options.mpp is None and (info.mpp is None) != (first_mpp is None):
                unknown = info.path.name if info.mpp is None else first_name
                raise MppNeededError(
                    f"{unknown} does not state its um/px, the other slides do: "
                    "one patch size in um cannot be kept.",
                    hint="Give it with --assume-mpp.",
                )
        return [self._open(info, first_mpp, options) for info in infos]

    def _checked(self, path: Path, options: PatchOptions) -> SlideInfo:
        info = check_slide(path)
        return replace(info, mpp=options.assume_mpp) if info.mpp is None else info

    def _open(
        self, info: SlideInfo, first_mpp: float | None, options: PatchOptions
    ) -> SlidePatches:
        target = options.mpp
        if target is None and info.mpp and first_mpp:
            differs = abs(info.mpp / first_mpp - 1) > SAME_MPP
            target = first_mpp if differs else None
        grid = grid_of(info, options, target)
        reader = self._readers.enter_context(open_slide(info.path, info.reader))
        return patches_of(reader, grid, options.filter, self.fingerprint(info.path), info.mpp)

    def fingerprint(self, path: Path) -> str:
        """Return the fingerprint of a slide file; read only if it changed since it was asked for.

        Raises
        ------
        SlideNotFoundError, UnreadableSlideError, SlideChangedError
            As `slideloop.slides.fingerprint.fingerprint`.
        """
        return fingerprint(path, self._fingerprints)

    def fingerprint_if_readable(self, path: Path) -> str | None:
        """Return the fingerprint of a file; None where it is none that can be read."""
        try:
            return self.fingerprint(path)
        except SlideloopError:
            return None

    def normalisation(self, spec: str, sources: Sequence[PatchSource]) -> Normalisation:
        """Return the normalisation by its name (algorithm.md 1.3), measured where it must be."""
        if spec == "imagenet":
            return normalisations.IMAGENET
        if spec == "dataset":
            return dataset_normalisation(list(sources))
        if spec != "sample":
            return normalisations.parse(spec)
        memory = WorkspaceNormalisation(self.root)
        return memory.get() or memory.fix(sample_normalisation(sources[0]))

    def index(
        self,
        source: PatchSource,
        encoder: Encoder,
        normalisation: Normalisation,
        kind: str,
        progress: Callable[[int, int], None] | None = None,
        grown: GrowingStore | None = None,
    ) -> FeatureStore:
        """Index a source into the workspace; see `slideloop.features.indexing.index`."""
        return index(
            source,
            encoder,
            normalisation,
            self.features,
            kind=kind,
            progress=progress,
            grown=grown,
        )
