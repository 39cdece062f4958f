"""What a study stands on: its slides, their features, an engine, and what was kept of earlier work.

Owns the step from the fold's references and cells to features. Nothing here changes a study.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slideloop.errors import StudyStateError
from slideloop.learning.database import QueryFeatures, SearchSet, place_of, reference, slide_of
from slideloop.studies.areas import Indexed, SlideAccess
from slideloop.studies.models import ModelKeeper
from slideloop.studies.queries import QueryKeeper, Squares

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from slideloop.learning.database import Database, Features
    from slideloop.learning.engine import Engine
    from slideloop.studies.study import Label, Session, Study

LEAST_TO_START = 256
"""Patches that must be indexed before a query starts, unless there are fewer (1.5)."""


class Ground:
    """The slides and features of one study.

    Parameters
    ----------
    database : Database
        Features of the study's slides, in its order.
    engine : Engine
    slides : sequence of SlideAccess or None
        Per slide; None where nothing can be drawn (tiles).
    machine : dict, optional
        What rounds and trainings record of where they ran (algorithm.md 8).
    models, queries : optional
        Keepers with a folder; in memory unless told otherwise.
    """

    def __init__(
        self,
        database: Database,
        engine: Engine,
        slides: Sequence[SlideAccess | None],
        *,
        machine: dict[str, Any] | None = None,
        models: ModelKeeper | None = None,
        queries: QueryKeeper | None = None,
    ) -> None:
        self.database, self.engine, self.slides = database, engine, list(slides)
        self.models = models or ModelKeeper(engine)
        self.queries = queries or QueryKeeper()
        self._machine = machine or {}

    def add_slide(self, store: Features, access: SlideAccess | None) -> None:
        """Take in a further slide's features.

        Raises
        ------
        NormalisationMismatchError
        """
        self.database.add(store)
        self.slides.append(access)

    def forget_slides(self, n: int) -> None:
        """Drop all but the first n slides: those that were taken in, but not recorded."""
        del self.database.stores[n:], self.slides[n:]

    # Slides --------------------------------------------------------------------------------

    def access(self, slide: int) -> SlideAccess:
        """Return a slide that can be drawn on.

        Raises
        ------
        StudyStateError
            If it is a folder of tiles.
        """
        access = self.slides[slide]
        if access is None:
            raise StudyStateError(
                "Nothing can be drawn on a folder of tiles.", hint="Query by a tile."
            )
        return access

    def indexed(self, slide: int, prefix: int | None = None) -> Indexed:
        """Say how far a slide is indexed; `prefix`: how far it was."""
        store = self.database.stores[slide]
        # In this order: a store that becomes complete in between has no fewer patches then.
        is_complete = store.is_complete
        n = len(store)
        return Indexed(n, is_complete) if prefix is None else Indexed(prefix, prefix == n)

    def no_squares(self, slide: int) -> Squares:
        """Return the features of no squares."""
        return self.database.stores[slide].pooled[:0], None

    def features_of(self, session: Session) -> QueryFeatures:
        """Return the features of a session's query."""
        access = self.slides[session.slide]
        squares = self.queries.get(session, access, self.no_squares(session.slide))
        return QueryFeatures(session.on_grid, *squares)

    # The search set ------------------------------------------------------------------------

    def search_set(self, study: Study) -> SearchSet:
        """Return all that is indexed now of the slides that are searched."""
        return self.database.present(study.search_slides)

    def n_indexed(self, study: Study) -> int:
        """Return how many patches of the slides that are searched are indexed."""
        return len(self.search_set(study))

    def has_enough(self, study: Study) -> bool:
        """Say whether enough of the search set is indexed to sample from (1.5)."""
        stores = [self.database.stores[slide] for slide in study.search_slides]
        is_complete = all(store.is_complete for store in stores)
        return is_complete or self.n_indexed(study) >= LEAST_TO_START

    def gone(self, study: Study, search: SearchSet) -> set[int]:
        """Return references that are not shown, those among them that had no place before."""
        return study.gone | {ref for ref, _ in self._placed_since(study, search)}

    def n_pool(self, study: Study) -> int:
        """Return how many patches could be shown now."""
        search = self.search_set(study)
        gone = self.gone(study, search)
        return len(search) - sum(place_of(ref) < search.lengths[slide_of(ref)] for ref in gone)

    def labels_of(self, study: Study, slide: int, n: int) -> dict[int, Label]:
        """Return the labels of a slide's first n patches by place, a region's later ones too."""
        lengths = [0] * len(self.slides)
        lengths[slide] = n
        since = self._placed_since(study, SearchSet(tuple(lengths)))
        placed = {place_of(ref): label for ref, label in since if label and slide_of(ref) == slide}
        return {**placed, **study.labels_of(slide)}

    def trainable(
        self, study: Study, search: SearchSet
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return references, ascending, and class indices of all labels that train.

        Those of a region's patches that were indexed after it was drawn are among them.
        """
        since = self._placed_since(study, search)
        return study.trainable({ref: label for ref, label in since if label})

    def _placed_since(self, study: Study, search: SearchSet) -> list[tuple[int, Label | None]]:
        """Return the references of cells that were indexed after a query or region took them."""
        placed: list[tuple[int, Label | None]] = []
        for (slide, column, row), label in study.unplaced.items():
            access = self.slides[slide]
            place = access.place(column, row) if access else None
            if place is not None and place < search.lengths[slide]:
                placed.append((reference(slide, place), label))
        return placed

    def search_data(self, search: SearchSet) -> dict[str, Any]:
        """Return what a round or training records of the search set and the machine."""
        # Slides that were added since the search set was taken are not in it.
        pairs = zip(self.database.stores, search.lengths, strict=False)
        return {
            "prefix": list(search.lengths),
            "checksums": [store.checksum(n) for store, n in pairs],
            "machine": self._machine,
        }
