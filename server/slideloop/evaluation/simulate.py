"""The paper's experiment with a simulated expert, on whole slides and on tile folders.

Owns the protocol: which patches query, who answers, what is measured when. Files are read and
written elsewhere.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from slideloop.errors import InvalidInputError, NotTrainedError, TruthError
from slideloop.evaluation.comparison import as_records, compare
from slideloop.evaluation.metrics import (
    interval,
    macro_over_slides,
    precision_at_10,
    slide_measures,
)
from slideloop.features.environment import machine_of
from slideloop.learning.database import Database, place_of, references, slide_of
from slideloop.learning.engines import SESSION_START
from slideloop.studies.ground import Ground
from slideloop.studies.journal import Journal, new_id
from slideloop.studies.loop import Loop, create_study
from slideloop.studies.prediction import cell_mask as lay_on_grid
from slideloop.studies.settings import EXCLUDE, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from slideloop.features.store import FeatureStore
    from slideloop.features.workspace import IndexedSlide
    from slideloop.learning.engine import Engine
    from slideloop.masks.cells import CellMask

MEASURES = ("f1", "f1_macro", "jaccard", "iou_mask", "accuracy")
TILE_MEASURES = ("accuracy", "perfect_p10", "p10")


@dataclass(frozen=True)
class Protocol:
    """How a simulated expert plays (paper, section 3).

    Attributes
    ----------
    sessions, rounds, k : int
        Queries of a run, rounds a query, patches a round.
    mode : {"classes", "relevance"}
    engine : {"linear", "faithful"}
    session_start : {"current", "pretrained"} or None
        None: the engine's own.
    refine_query : bool
    refine_over : {"study", "round"}
    training : dict
        Settings of the heads' training, recorded with each study.
    """

    sessions: int = 10
    rounds: int = 5
    k: int = 5
    mode: str = "classes"
    engine: str = "linear"
    session_start: str | None = None
    refine_query: bool = True
    refine_over: str = "study"
    training: dict[str, Any] = field(default_factory=dict[str, Any])

    def settings(self, classes: Sequence[str], strategy: str, seed: int) -> Settings:
        """Return the settings of one run's study, checked."""
        return Settings.checked(
            classes=tuple(classes),
            mode=self.mode,
            strategy=strategy,
            rounds=self.rounds,
            k=self.k,
            engine=self.engine,
            seed=seed,
            session_start=self.session_start or SESSION_START[self.engine],
            refine_query=self.refine_query,
            refine_over=self.refine_over,
            training=self.training,
        )


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

    def label(self, ref: int) -> str:
        """Return the true class of a patch."""
        return self.classes[self.truths[slide_of(ref)].label[place_of(ref)]]


@dataclass
class Run:
    """One strategy and seed, played to its end.

    Attributes
    ----------
    strategy, engine : str
    seed : int
    curve : list of dict
        A point a session, as in `result.json`.
    loop : Loop
        The study as it ended.
    n_boundary : int
    """

    strategy: str
    seed: int
    engine: str
    curve: list[dict[str, Any]]
    loop: Loop
    n_boundary: int


def draw_queries(subject: Subject, protocol: Protocol, seed: int) -> list[int]:
    """Draw the query patches of a run by its seed alone, the same for all strategies.

    In relevance mode all are of the positive class; in classes mode sessions go round the classes,
    the positive one first.

    Returns
    -------
    list of int
        References, one per session.

    Raises
    ------
    InvalidInputError
        If a class has fewer patches than queries.
    """
    rng = np.random.default_rng([seed, 1])
    n_queried = 1 if protocol.mode == "relevance" else len(subject.classes)
    pools: list[list[int]] = []
    for class_idx in range(n_queried):
        refs = [
            references(slide, np.flatnonzero(subject.truths[slide].label == class_idx))
            for slide in subject.query_slides
        ]
        pools.append(rng.permutation(np.concatenate(refs)).tolist())
    queries: list[int] = []
    for session in range(protocol.sessions):
        pool = pools[session % n_queried]
        if not pool:
            name = subject.classes[session % n_queried]
            raise InvalidInputError(
                f"There are not enough patches of class {name!r} to draw {protocol.sessions} "
                "queries from.",
                hint="Ask for fewer queries, or use slides with more of that class.",
            )
        queries.append(pool.pop())
    return queries


def check_size(subject: Subject, protocol: Protocol) -> None:
    """Refuse an experiment that wants more labels than there are patches.

    Raises
    ------
    InvalidInputError
    """
    for name in ("sessions", "rounds", "k"):
        if getattr(protocol, name) < 1:
            raise InvalidInputError(
                f"An experiment with {getattr(protocol, name)} {name} has nothing to do.",
                hint="The paper has 10 queries, 5 rounds and 5 patches a round.",
            )
    wanted = protocol.sessions * protocol.rounds * protocol.k
    there = sum(len(subject.stores[slide]) for slide in subject.search_slides)
    queried = protocol.sessions if set(subject.query_slides) & set(subject.search_slides) else 0
    if wanted + queried > there:
        raise InvalidInputError(
            f"{protocol.sessions} sessions of {protocol.rounds} rounds of {protocol.k} want "
            f"{wanted:,} labels and {queried} queries, but the search set has {there:,} patches.",
            hint="Ask for fewer, or cut the slide into smaller patches.",
        )


def play(
    subject: Subject,
    protocol: Protocol,
    engine: Engine,
    strategy: str,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Run:
    """Play one run: all sessions of one strategy and seed (paper, Algorithm 1).

    Parameters
    ----------
    subject : Subject
    protocol : Protocol
    engine : Engine
    strategy : str
    seed : int
    progress : callable, optional
        Called after each round with the rounds played so far.
    """
    settings = protocol.settings(subject.classes, strategy, seed)
    queries = draw_queries(subject, protocol, seed)
    reserved = reserved_places(subject, queries)
    journal = Journal(new_id())
    create_study(
        journal,
        settings,
        subject.records,
        search_slides=subject.search_slides,
        reserved=reserved,
        environment=subject.environment,
        name=f"{strategy} {seed}",
    )
    machine = machine_of(subject.environment)
    ground = Ground(Database(subject.stores), engine, subject.slides, machine=machine)
    loop = Loop(journal, ground)
    run = Run(strategy, seed, protocol.engine, [], loop, 0)
    n_rounds = 0
    for number, query in enumerate(queries, 1):
        if loop.study.state == "exhausted":
            break
        loop.query_patch(query, subject.label(query))
        seconds: list[float] = []
        while loop.study.state == "labelling":
            answer(loop, subject)
            start = time.perf_counter()
            loop.learn()
            seconds.append(round(time.perf_counter() - start, 4))
            n_rounds += 1
            if progress:
                progress(n_rounds)
        take_point(run, subject, number, reserved, seconds)
    return run


def reserved_places(subject: Subject, queries: Sequence[int]) -> list[list[int]]:
    """Return the places of a run's queries, by slide: they are never shown and never scored."""
    return [[place_of(q) for q in queries if slide_of(q) == s] for s in range(len(subject.stores))]


def take_point(
    run: Run, subject: Subject, number: int, reserved: list[list[int]], seconds: list[float]
) -> None:
    """Measure a run after one of its sessions, and add the point to its curve.

    Parameters
    ----------
    run : Run
    subject : Subject
    number : int
        Of the session, from 1 on.
    reserved : list of list of int
        As `reserved_places`.
    seconds : list of float
        What its rounds took.
    """
    study = run.loop.study
    point = {
        "session": number,
        "n_labels": sum(study.n_labels().values()),
        "n_query_labels": study.n_given("query"),
    }
    measured = measure(run.loop, subject, reserved)
    run.n_boundary = int(measured.pop("n_boundary", 0) or 0)
    measured.pop("n_scored", None)
    run.curve.append({**point, **measured, "round_s": seconds})


def answer(loop: Loop, subject: Subject) -> None:
    """Label the open round as the truth says."""
    shown = loop.study.round
    assert shown is not None
    for patch, ref in list(shown.shown.items()):
        label = subject.label(ref)
        loop.label(patch, label, shown.id, reader="simulated expert")


def measure(loop: Loop, subject: Subject, reserved: list[list[int]]) -> dict[str, Any]:
    """Measure the study's present models on all slides, or on the held-out tiles.

    Returns
    -------
    dict
        Means over the slides; with several also `by_slide`, a dict for each.
    """
    if subject.truths[0].grid_label is None:
        return _measure_tiles(loop, subject)
    per_slide = [
        _measure_slide(loop, subject, slide, reserved[slide])
        for slide in range(len(subject.stores))
    ]
    measured: dict[str, Any] = dict(macro_over_slides(per_slide))
    return measured if len(per_slide) == 1 else {**measured, "by_slide": per_slide}


def _measure_slide(
    loop: Loop, subject: Subject, slide: int, reserved: list[int]
) -> dict[str, float | int | None]:
    truth, store = subject.truths[slide], subject.stores[slide]
    assert truth.grid_label is not None and truth.boundary is not None
    assert truth.cell_share is not None and truth.cell_area is not None
    column, row = store.cells[:, 0], store.cells[:, 1]
    predicted = np.full(truth.grid_label.shape, -1, np.int16)
    scored = np.zeros(truth.grid_label.shape, bool)
    reviewed = np.zeros(truth.grid_label.shape, bool)
    try:
        predicted[row, column] = loop.predict(slide).label
    except NotTrainedError:
        # Nothing learnt, nothing measured: null, not a made-up answer.
        names = [f"{name}{suffix}" for name in MEASURES for suffix in ("", "_unreviewed")]
        return dict.fromkeys(names)
    scored[row, column] = True
    scored[row[reserved], column[reserved]] = False
    for place, label in loop.study.labels_of(slide).items():
        reviewed[row[place], column[place]] = True
        if label.name == EXCLUDE:
            scored[row[place], column[place]] = False
    return slide_measures(
        truth.grid_label,
        predicted,
        n_classes=len(subject.classes),
        positive_idx=0,
        scored=scored,
        reviewed=reviewed,
        boundary=truth.boundary,
        cell_positive_share=truth.cell_share,
        cell_area_px0=truth.cell_area,
        annotated_area_px0=truth.annotated_area,
    )


def _measure_tiles(loop: Loop, subject: Subject) -> dict[str, Any]:
    """Measure accuracy and P@10 on the held-out tiles, the last store (paper, Fig. 2)."""
    held_out = len(subject.stores) - 1
    label = subject.truths[held_out].label.astype(np.int64)
    k = min(10, len(label) - 1)
    neighbours = loop.ground.engine.nearest(loop.ground.database, held_out, loop.models, label, k)
    precision = precision_at_10(label, neighbours, len(subject.classes))
    try:
        predicted = loop.predict(held_out).label
        accuracy = float((predicted == label).mean())
    except NotTrainedError:
        accuracy = None
    return {"accuracy": accuracy, "perfect_p10": precision.perfect_p10, "p10": precision.p10}


def cell_mask(loop: Loop, subject: Subject, slide: int) -> CellMask:
    """Return the study's mask of one slide (algorithm.md 5).

    Raises
    ------
    NotTrainedError
        Before two classes were labelled.
    """
    access = subject.slides[slide]
    if access is None:
        raise TruthError("A folder of tiles has no mask.", hint="Use a slide.")
    return mask_of(loop, access, slide)


def mask_of(loop: Loop, slide: IndexedSlide, number: int) -> CellMask:
    """Lay a study's prediction of its slide `number` on the slide's grid."""
    classes, size = loop.study.settings.classes, (slide.width, slide.height)
    return lay_on_grid(loop.predict(number), slide.store.cells, slide.grid, classes, size)


def result(runs: Sequence[Run], subject: Subject, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what `result.json` holds (interfaces.md, Files)."""
    rows = [
        {
            "strategy": run.strategy,
            "seed": run.seed,
            "engine": run.engine,
            "slides": [record["name"] for record in subject.records],
            "n_patches": sum(len(store) for store in subject.stores),
            "n_boundary": run.n_boundary,
            "study": run.loop.study.id,
            "curve": run.curve,
        }
        for run in runs
    ]
    played = {"settings": settings, "runs": rows}
    measure = "f1_unreviewed" if any(subject.slides) else "accuracy"
    comparison = as_records(compare([played], measure))
    return {**played, "summary": summary(runs), "comparison": {measure: comparison}}


def summary(runs: Sequence[Run]) -> dict[str, dict[str, list[float | None]]]:
    """Return mean and 95 % t-interval over the seeds after the last session, per strategy."""
    result: dict[str, dict[str, list[float | None]]] = {}
    for strategy in dict.fromkeys(run.strategy for run in runs):
        last = [run.curve[-1] for run in runs if run.strategy == strategy and run.curve]
        names = [name for name in (last[0] if last else {}) if _is_measure(name)]
        result[strategy] = {name: interval([point[name] for point in last]) for name in names}
    return result


def _is_measure(name: str) -> bool:
    return name.removesuffix("_unreviewed") in {*MEASURES, *TILE_MEASURES}
