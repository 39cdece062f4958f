"""The features of queries' squares off the grid, saved with the study (algorithm.md 2).

Owns their files. They are named by the hash that the journal holds; a missing or damaged one is
made again from the slide's pixels and must come out the same.
"""

from __future__ import annotations

import hashlib
import io
import logging
from typing import TYPE_CHECKING

import numpy as np

from slideloop.errors import StoreMismatchError
from slideloop.files import whole_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slideloop.studies.areas import SlideAccess
    from slideloop.studies.study import Session

_log = logging.getLogger(__name__)

Squares = tuple["NDArray[np.float16]", "NDArray[np.float16] | None"]
"""Pooled features, shape (b, channels), and full ones or None."""


def sha256(array: NDArray[np.generic]) -> str:
    """Return the SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


class QueryKeeper:
    """Features of squares by the hash of the pooled ones.

    Parameters
    ----------
    folder : Path, optional
        Where they are kept; None: in memory only.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._squares: dict[str, Squares] = {}

    def keep(self, squares: Squares) -> str:
        """Keep the squares of a query and return their hash.

        Raises
        ------
        OutputError
            If their file cannot be written.
        """
        digest = sha256(squares[0])
        self._squares[digest] = squares
        pooled, full = squares
        if self._folder is not None and len(pooled):
            self._folder.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            parts = {"pooled": pooled} if full is None else {"pooled": pooled, "full": full}
            np.savez(buffer, **parts)  # pyright: ignore[reportArgumentType]
            with whole_file(self._folder / f"{digest}.npz") as path:
                path.write_bytes(buffer.getvalue())
        return digest

    def get(self, session: Session, access: SlideAccess | None, empty: Squares) -> Squares:
        """Return the squares of a session's query.

        Parameters
        ----------
        session : Session
        access : SlideAccess or None
            Of its slide, to read the pixels again.
        empty : Squares
            What a query without squares off the grid has.

        Raises
        ------
        StoreMismatchError
            If they do not come out as they were journalled.
        """
        digest = session.squares_sha256
        if access is None or not session.squares_at:
            return empty
        if digest not in self._squares:
            squares = self._read(digest)
            if squares is None:
                _, pooled, full = access.embed(session.squares_at)
                squares = pooled, full
            if sha256(squares[0]) != digest:
                raise StoreMismatchError(
                    "The squares of a query do not give the features that were journalled.",
                    hint="Use the same slide, weights and machine type as the study did.",
                )
            self._squares[digest] = squares
        return self._squares[digest]

    def _read(self, digest: str) -> Squares | None:
        if self._folder is None:
            return None
        try:
            with np.load(self._folder / f"{digest}.npz", allow_pickle=False) as parts:
                full = parts["full"] if "full" in parts.files else None
                squares = parts["pooled"], full
        except FileNotFoundError:
            return None
        except Exception as err:  # a damaged archive makes NumPy stumble in any way
            _log.warning("The features of a query are damaged and are made again: %s", err)
            return None
        return squares if sha256(squares[0]) == digest else None
