"""One slide as studies use it: its features at any time, its pixels when they are asked for.

Owns the way from what the workspace keeps of a slide back to its features and its file. Knows
nothing of jobs or requests.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slideloop.errors import SlideChangedError, SlideloopError, SlideNotFoundError
from slideloop.features.growing import GrowingStore
from slideloop.features.normalisation import Normalisation
from slideloop.features.workspace import embed_squares, patches_of, slide_record
from slideloop.slides.grid import Grid
from slideloop.slides.reader import open_slide

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from slideloop.features.encoders import Encoder
    from slideloop.features.sources import SlidePatches
    from slideloop.features.workspace import Workspace
    from slideloop.studies.areas import Square


@dataclass(frozen=True)
class Kept:
    """What the ledger keeps of a slide; all of it is JSON-ready.

    Attributes
    ----------
    id, name, path : str
        Id of its features; name and place of its file.
    reader : str
        Back-end that its first opening chose.
    size : int
        Bytes of the file.
    kind : {"full", "pooled"}
        What was asked for last.
    normalisation : str
        As it was asked for; the figures are in `identity`.
    identity, details : dict
        As of its store.
    problem : dict or None
        Why the last index failed.
    indexed : dict or None
        `n`, `n_visited`, `dropped`: how far the index was when it last ended.
    is_complete : bool
    """

    id: str
    name: str
    path: str
    reader: str
    size: int
    kind: str
    normalisation: str
    identity: dict[str, Any]
    details: dict[str, Any]
    problem: dict[str, Any] | None = None
    indexed: dict[str, Any] | None = None
    is_complete: bool = False

    @classmethod
    def of(cls, document: dict[str, Any]) -> Kept:
        """Read the ledger's document."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the file."""
        return self.identity["fingerprint"]

    def grid(self) -> Grid:
        """Return the grid that its features were cut by."""
        sides = ("n_columns", "n_rows")
        return Grid(**self.identity["grid"], **{side: self.details[side] for side in sides})

    def gone(self) -> SlideloopError | None:
        """Say what is wrong with the file as far as the file system tells, or None."""
        try:
            found = Path(self.path).stat()
        except (OSError, ValueError):
            return _not_found(self.name, self.path)
        return None if found.st_size == self.size else changed(self.name)


class RegisteredSlide:
    """A slide of the workspace; implements `studies.areas.SlideAccess`.

    Its features are there without its file; the file is opened for squares off the grid only.

    Parameters
    ----------
    kept : Kept
    workspace : Workspace
    encoder : Encoder
    embedding : Executor
        Where squares are embedded: PyTorch keeps some 100 MB for each thread that ever did.

    Attributes
    ----------
    id : str
    store : GrowingStore
        The same object for as long as the server runs.
    grid : Grid
    width, height : int
        Level-0 pixels.
    normalisation : Normalisation

    Raises
    ------
    StoreDamagedError, StoreMismatchError
        If its features cannot be used.
    """

    def __init__(
        self, kept: Kept, workspace: Workspace, encoder: Encoder, embedding: Executor
    ) -> None:
        self.id = kept.id
        self.grid = kept.grid()
        self.width: int = kept.details["width"]
        self.height: int = kept.details["height"]
        mean, std = kept.identity["normalisation"]
        self.normalisation = Normalisation(tuple(mean), tuple(std), kept.normalisation)
        self.store = GrowingStore(
            workspace.features,
            kept.identity,
            kept.kind,
            name=kept.name,
            details=kept.details,
            feature_shape=encoder.architecture.feature_shape,
            n_cells=self.grid.n_cells,
        )
        self._workspace, self._encoder, self._embedding = workspace, encoder, embedding
        self._kept = kept
        self._lock = threading.Lock()
        self._places = np.full((self.grid.n_rows, self.grid.n_columns), -1, np.int32)
        self._n_placed = 0

    def keep(self, kept: Kept) -> None:
        """Take what is kept of it now: a new path, say."""
        self._kept = kept

    @property
    def record(self) -> dict[str, Any]:
        """What a study records of the slide, where it lies and how far it is indexed now."""
        kept = self._kept
        mine = {"path": kept.path, "name": kept.name, "mpp": kept.details["mpp"]}
        return {**slide_record(self.store), **mine}

    def place(self, column: int, row: int) -> int | None:
        """Return a cell's place in the index order; None if it is dropped or not indexed yet."""
        with self._lock:
            n = len(self.store)
            if n > self._n_placed:
                new = self.store.cells[self._n_placed : n]
                self._places[new[:, 1], new[:, 0]] = np.arange(self._n_placed, n)
                self._n_placed = n
            place = int(self._places[row, column])
        return None if place < 0 else place

    def embed(
        self, squares: Sequence[Square]
    ) -> tuple[list[bool], NDArray[np.float16], NDArray[np.float16] | None]:
        """Embed squares off the grid from their pixels; see `features.workspace.IndexedSlide`.

        Raises
        ------
        SlideNotFoundError
            If the file is gone.
        SlideChangedError
            If it was changed in place.
        UnreadableSlideError
            If it cannot be read there.
        """
        return self._embedding.submit(self._embed, squares).result()

    def _embed(
        self, squares: Sequence[Square]
    ) -> tuple[list[bool], NDArray[np.float16], NDArray[np.float16] | None]:
        with self.patches() as source:
            return embed_squares(
                source,
                squares,
                self._encoder,
                self.normalisation,
                self.store.feature_shape,
                is_full=self.store.kind == "full",
            )

    @contextmanager
    def patches(self) -> Generator[SlidePatches]:
        """Open the file, the same one as ever, for as long as the block lasts.

        Raises as `embed` does.
        """
        kept = self._kept
        try:
            mark = self._workspace.fingerprint(Path(kept.path))
        except SlideNotFoundError as err:
            raise _not_found(kept.name, kept.path) from err
        if mark != kept.fingerprint:
            raise changed(kept.name)
        rule, mpp = kept.identity["filter"], kept.details["mpp"]
        with open_slide(kept.path, kept.reader) as reader:
            yield patches_of(reader, self.grid, rule, mark, mpp)


def _not_found(name: str, path: str) -> SlideNotFoundError:
    return SlideNotFoundError(
        f"{name} is not where it was: there is no file {path}.",
        hint="Put it back, or open it again where it is now.",
    )


def changed(name: str) -> SlideChangedError:
    """Return the error that says that a file is no longer the one that was opened under its path.

    Parameters
    ----------
    name : str
        Of the file.
    """
    return SlideChangedError(
        f"The file {name} was changed since it was first opened.",
        hint="Put the old file back, and give the new one another name.",
    )
