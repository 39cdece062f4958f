"""What happens in which order: query, label, train, next round (paper, Algorithm 1).

Owns the sequence and the seeds. Models, features and pixels reach it as objects; what happened is
appended to the journal before the state changes.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from slideloop.errors import (
    NotTrainedError,
    OnGlassError,
    PoolExhaustedError,
    StoreMismatchError,
    StudyStateError,
)
from slideloop.learning.database import (
    LabelledSet,
    QueryFeatures,
    SearchSet,
    place_of,
    references,
    slide_of,
)
from slideloop.learning.ranking import nearest_first
from slideloop.learning.sampling import choose
from slideloop.slides.grid import patch_id, query_squares
from slideloop.studies.study import EXCLUDE, NOT_CLASSES, Settings, Study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from slideloop.learning.database import Database
    from slideloop.learning.engine import Engine, Models, Scores
    from slideloop.slides.grid import Grid
    from slideloop.studies.journal import Journal

MOST_GIVEN = 16
"""Most grid patches that take a query's label as given (algorithm.md 2)."""

Rectangle = tuple[float, float, float, float]
Square = tuple[int, int, int, int]


class SlideAccess(Protocol):
    """What a query needs of a slide beside its features."""

    grid: Grid
    width: int
    height: int

    def place(self, column: int, row: int) -> int | None:
        """Return a cell's place in the index order, or None if the filter dropped it."""
        ...

    def embed(
        self, squares: Sequence[Square]
    ) -> tuple[list[bool], NDArray[np.float16], NDArray[np.float16] | None]:
        """Return, per square, whether it is glass; pooled and full features of those not."""
        ...


@dataclass(frozen=True)
class Prediction:
    """One slide as the study sees it; all arrays in index order, n patches long.

    Attributes
    ----------
    label : ndarray of int16, shape (n,)
        Class index, -1 for excluded patches.
    probability : ndarray of float64, shape (n,)
        Of that class; 1 where the label was given.
    given : ndarray of bool, shape (n,)
        Whether the label is the expert's.
    """

    label: NDArray[np.int16]
    probability: NDArray[np.float64]
    given: NDArray[np.bool_]


class Loop:
    """Runs one study.

    Parameters
    ----------
    journal : Journal
        With at least `study_created`.
    database : Database
        Features of the study's slides, in its order.
    engine : Engine
    slides : sequence of SlideAccess or None
        Per slide; None where no query can be drawn (tiles).
    """

    def __init__(
        self,
        journal: Journal,
        database: Database,
        engine: Engine,
        slides: Sequence[SlideAccess | None],
    ) -> None:
        self.journal, self.database, self.engine, self.slides = journal, database, engine, slides
        self.study = Study()
        for event in journal.events:
            self.study.apply(event.type, event.data)
        self.models: Models | None = None
        self._queries: dict[str, QueryFeatures] = {}

    def _record(self, type_: str, data: dict[str, Any]) -> None:
        self.journal.append(type_, data)
        self.study.apply(type_, data)

    # The query -----------------------------------------------------------------------------

    def query(self, slide: int, rectangle: Rectangle, label: str) -> None:
        """Start a session with the expert's rectangle and show its first patches (section 2).

        Parameters
        ----------
        slide : int
            Number of the slide in the study.
        rectangle : tuple of float
            (x, y, width, height) in level-0 pixels.
        label : str
            Class of what it shows.

        Raises
        ------
        ClassRefusedError, QueryNotRelevantError
            If the study cannot be queried for that class.
        OutsideSlideError
            If it lies outside the slide.
        OnGlassError
            If it lies on dropped patches and white pixels only.
        PoolExhaustedError
            If nothing is left to show.
        """
        self.study.check_query(label)
        self._check_pool()
        access = self.slides[slide]
        if access is None:
            raise StudyStateError(
                "A rectangle cannot be drawn on a folder of tiles.", hint="Query by a tile."
            )
        squares = query_squares(rectangle, access.grid, access.width, access.height)
        on_grid, off_grid = self._sort_squares(access, squares)
        is_glass, pooled, full = access.embed(off_grid)
        off_grid = [s for s, glass in zip(off_grid, is_glass, strict=True) if not glass]
        if not on_grid and not off_grid:
            x, y, width, height = rectangle
            raise OnGlassError(
                f"The rectangle at ({x:g}, {y:g}) of {width:g} x {height:g} px lies on glass only.",
                hint="Draw it on tissue.",
            )
        covered = self._covered(access, rectangle, squares)
        places = sorted(set(on_grid) | set(covered))
        given = _spread(places, MOST_GIVEN, self._seed("query", len(self.study.sessions)))
        features = QueryFeatures(references(slide, np.array(on_grid, np.int64)), pooled, full)
        self._start(slide, rectangle, label, on_grid, off_grid, places, given, features)

    def query_patch(self, ref: int, label: str) -> None:
        """Start a session with one patch of the database as the query, such as a tile.

        Raises as `query` does.
        """
        slide, place = slide_of(ref), place_of(ref)
        access = self.slides[slide]
        if access is not None:
            column, row = self.database.stores[slide].cells[place].tolist()
            self.query(slide, access.grid.rectangle(column, row), label)
            return
        self.study.check_query(label)
        self._check_pool()
        pooled = self.database.stores[slide].pooled[:0]
        features = QueryFeatures(np.array([ref]), pooled)
        self._start(slide, (place, 0, 1, 1), label, [place], [], [place], [place], features)

    def _check_pool(self) -> None:
        if self.study.state == "exhausted":
            raise PoolExhaustedError(
                "Every patch of the search set has been reviewed.",
                hint="Import the mask, or add another slide to the study.",
            )

    def _sort_squares(
        self, access: SlideAccess, squares: list[Square]
    ) -> tuple[list[int], list[Square]]:
        """Return places of squares that are kept patches of the grid, and the squares off it."""
        places: list[int] = []
        off_grid: list[Square] = []
        for square in squares:
            cell = access.grid.cell_at(*square)
            if cell is None:
                off_grid.append(square)
                continue
            place = access.place(*cell)
            if place is not None:  # a dropped patch is glass
                places.append(place)
        return places, off_grid

    def _covered(
        self, access: SlideAccess, rectangle: Rectangle, squares: list[Square]
    ) -> list[int]:
        """Return places of kept patches that the query covers to at least half.

        Where the rectangle is smaller than a patch, the patch-sized square stands for it.
        """
        x, y, width, height = rectangle
        side = access.grid.patch_px0
        if width < side:
            x, width = squares[0][0], side
        if height < side:
            y, height = squares[0][1], side
        cells = access.grid.cells_covered(x, y, width, height, 0.5).tolist()
        places = (access.place(column, row) for column, row in cells)
        return [place for place in places if place is not None]

    def _start(
        self,
        slide: int,
        rectangle: Rectangle,
        label: str,
        on_grid: list[int],
        off_grid: list[Square],
        covered: list[int],
        given: list[int],
        features: QueryFeatures,
    ) -> None:
        session = _id(self.study.id, "session", len(self.study.sessions) + 1)
        self._queries[session] = features
        self._record(
            "query",
            {
                "session": session,
                "slide": slide,
                "rectangle": list(rectangle),
                "label": label,
                "on_grid": on_grid,
                "squares": [list(square) for square in off_grid],
                "squares_sha256": _sha256(features.pooled),
                "covered": covered,
                "given": given,
            },
        )
        self._show(1)

    # The round -----------------------------------------------------------------------------

    def label(self, patch: str, label: str, round_id: str, reader: str | None = None) -> None:
        """Take one label; the newest counts while the round is open.

        Raises
        ------
        StaleRoundError, NotInRoundError, ClassRefusedError
            If it does not belong to the open round; nothing is changed then.
        """
        self.study.check_label(patch, label, round_id)
        self._record(
            "label", {"patch": patch, "label": label, "round_id": round_id, "reader": reader}
        )

    def learn(self) -> None:
        """Train on all labels after the round's last one, then show the next round (3.4).

        Raises
        ------
        StudyStateError
            If labels of the open round are missing.
        """
        study = self.study
        if study.state != "training":
            raise StudyStateError(
                "There is nothing to learn: the round is not labelled to its end.",
                hint="Label the patches that remain.",
            )
        if study.has_trainable_answer():
            self._train()
        else:
            self._record("training_skipped", {"reason": "no_trainable_label"})
        if study.session.rounds_done < study.settings.rounds:
            self._show(study.session.rounds_done + 1)

    def _train(self) -> None:
        study = self.study
        model_round = study.n_trainings + 1
        started = {
            "model_round": model_round,
            "seed": self._seed("training", model_round),
            "n": len(study.trainable()[0]),
            **self._search_data(),
        }
        self._record("training_started", started)
        self.models = self.train_again(started)
        self._record(
            "training_done",
            {
                "model_round": model_round,
                "metric": self.models.has_metric,
                "classifier": self.models.has_classifier,
                "digest": self.models.digest,
            },
        )

    def train_again(self, started: dict[str, Any]) -> Models:
        """Return the models of the training that a `training_started` event describes.

        The labels are those of the present state; nothing is recorded.
        """
        study = self.study
        refs, labels = study.trainable()
        return self.engine.train(
            self.database,
            LabelledSet(refs, labels, self._square_labels()),
            SearchSet(tuple(started["prefix"])),
            len(study.settings.classes),
            started["seed"],
        )

    def restore_queries(self) -> None:
        """Embed again the squares of queries that were made before this object.

        Raises
        ------
        StoreMismatchError
            If they do not come out as they were journalled.
        """
        for session in self.study.sessions:
            access = self.slides[session.slide]
            pooled, full = self.database.stores[session.slide].pooled[:0], None
            if access is not None and session.squares_at:
                _, pooled, full = access.embed(session.squares_at)
            if _sha256(pooled) != session.squares_sha256:
                raise StoreMismatchError(
                    "The squares of a query do not give the features that were journalled.",
                    hint="Use the same slide, weights and machine type as the study did.",
                )
            self._queries[session.id] = QueryFeatures(session.on_grid, pooled, full)

    def _square_labels(self) -> tuple[tuple[QueryFeatures, int], ...]:
        return tuple(
            (self._queries[session.id], self.study.class_idx(session.label))
            for session in self.study.sessions
            if session.squares_at
        )

    def _show(self, number: int) -> None:
        """Sample the patches of a round and show them, or find that nothing is left."""
        study, settings = self.study, self.study.settings
        session = study.session
        starts_fresh = number == 1 and settings.session_start == "pretrained"
        models = None if starts_fresh else self.models
        search = self.database.complete(study.search_slides)
        refs = search.references()
        unseen = ~np.isin(refs, np.fromiter(study.gone, np.int64, len(study.gone)))
        if not unseen.any():
            self._record("exhausted", {"session": session.id, "round": number})
            return
        class_idx = study.class_idx(session.label)
        refine = settings.refine_query and number > 1
        relevant = study.relevant() if refine else np.zeros(0, np.int64)
        scores = self.engine.score(
            self.database, search, models, self._queries[session.id], relevant, class_idx
        )
        order = np.flatnonzero(unseen)[nearest_first(scores.key[unseen])]
        seed = self._seed("round", len(study.sessions), number)
        probability = None if scores.probability is None else scores.probability[order]
        picks, used = choose(
            settings.strategy,
            order,
            settings.k,
            rng=np.random.default_rng(seed),
            is_positive=None if probability is None else probability.argmax(1) == class_idx,
            entropy=None if probability is None else _entropy(probability),
        )
        rank = {int(position): i for i, position in enumerate(order)}
        self._record(
            "round_shown",
            {
                "session": session.id,
                "round": number,
                "round_id": _id(study.id, "round", len(study.sessions), number),
                "seed": seed,
                "strategy": settings.strategy,
                "strategy_used": used,
                "engine": settings.engine,
                "model_round": study.n_trainings if models is not None else 0,
                "n_pool": len(order),
                **self._search_data(),
                "patches": [
                    self._patch_data(int(refs[p]), rank[p], reason, scores, p, class_idx)
                    for p, reason in zip(picks.patches.tolist(), picks.reasons, strict=True)
                ],
                "notes": self._notes(used, models),
            },
        )

    def _patch_data(
        self, ref: int, rank: int, reason: str, scores: Scores, position: int, class_idx: int
    ) -> dict[str, Any]:
        slide, place = slide_of(ref), place_of(ref)
        column, row = self.database.stores[slide].cells[place].tolist()
        record = self.study.slides[slide]
        grid = record.get("grid", {"patch_px0": 0, "stride_px0": 0})
        probability = scores.probability
        return {
            "id": patch_id(
                record["fingerprint"], grid["patch_px0"], grid["stride_px0"], column, row
            ),
            "slide": slide,
            "place": place,
            "column": column,
            "row": row,
            "rank": rank,
            "distance": float(scores.distance[position]),
            "probability": None if probability is None else float(probability[position, class_idx]),
            "reason": reason,
        }

    def _notes(self, used: str, models: Models | None) -> list[dict[str, str]]:
        notes: list[dict[str, str]] = []
        if used != self.study.settings.strategy:
            notes.append({"code": "fallback", "text": f"No classifier yet: sampled as {used}."})
        if models is not None and not models.has_classifier:
            text = "Labels of one class only: nothing can be learnt until a second one is labelled."
            notes.append({"code": "one_class", "text": text})
        return notes

    def _search_data(self) -> dict[str, Any]:
        lengths = self.database.complete(self.study.search_slides).lengths
        stores = self.database.stores
        checksums = [store.checksum(n) for store, n in zip(stores, lengths, strict=True)]
        return {"prefix": list(lengths), "checksums": checksums}

    def _seed(self, *purpose: str | int) -> int:
        """Return the seed of one step: a function of the study's seed and the step alone."""
        text = "/".join(map(str, (self.study.settings.seed, *purpose)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])

    # The prediction ------------------------------------------------------------------------

    def predict(self, slide: int) -> Prediction:
        """Predict all patches of one slide by the newest classifier (section 5).

        Raises
        ------
        NotTrainedError
            Before two classes were labelled.
        """
        if self.models is None or not self.models.has_classifier:
            raise NotTrainedError(
                "The study has no trained classifier yet.",
                hint="Label patches of at least two classes, to the end of a round.",
            )
        probability = self.engine.predict(self.database, slide, self.models)
        label = probability.argmax(1).astype(np.int16)
        confidence = probability.max(1)
        given = np.zeros(len(label), bool)
        for place, answer in self.study.labels_of(slide).items():
            if answer.name == EXCLUDE:
                label[place], confidence[place], given[place] = -1, 1.0, True
            elif answer.name not in NOT_CLASSES:
                label[place] = self.study.class_idx(answer.name)
                confidence[place], given[place] = 1.0, True
        return Prediction(label, confidence, given)


def create_study(
    journal: Journal,
    settings: Settings,
    slides: list[dict[str, Any]],
    *,
    search_slides: list[int] | None = None,
    reserved: list[list[int]] | None = None,
    environment: dict[str, Any] | None = None,
    name: str = "",
) -> None:
    """Write the first event of a study.

    Parameters
    ----------
    journal : Journal
        Empty; its `study` becomes the id.
    settings : Settings
    slides : list of dict
        Records of the slides: id, fingerprint, name, path, grid, width, height, mpp.
    search_slides : list of int, optional
        Numbers of the slides that are searched; all of them unless told otherwise.
    reserved : list of list of int, optional
        Per slide, places in its index order that are never shown (queries of a simulation).
    environment : dict, optional
        What replay compares: encoder, weights, device, threads, versions.
    name : str
    """
    journal.append(
        "study_created",
        {
            "id": journal.study,
            "name": name,
            "settings": settings.as_dict(),
            "slides": slides,
            "search_slides": list(range(len(slides))) if search_slides is None else search_slides,
            "reserved": reserved or [],
            "environment": environment or {},
        },
    )


def _spread(places: list[int], most: int, seed: int) -> list[int]:
    """Choose at most `most` of the sorted places, one at random from each of equal parts."""
    if len(places) <= most:
        return places
    parts = np.array_split(np.array(places), most)
    rng = np.random.default_rng(seed)
    return [int(rng.choice(part)) for part in parts]


def _entropy(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropy of each row, in nats."""
    logs = np.log(np.clip(probability, np.finfo(np.float64).tiny, None))
    return -(probability * logs).sum(1)


def _sha256(array: NDArray[np.generic]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _id(study: str, *parts: str | int) -> str:
    return str(uuid.uuid5(uuid.UUID(study), "/".join(map(str, parts))))
