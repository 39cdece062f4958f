"""The paper's experiment with a simulated expert, on whole slides and on tile folders.

Owns the protocol: which patches query, who answers, what is measured when. Files are read and
written elsewhere.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from slideloop.errors import InvalidInputError, NotTrainedError, TruthError
from slideloop.evaluation.comparison import as_records, compare
from slideloop.evaluation.measuring import MEASURES, TILE_MEASURES, measure
from slideloop.evaluation.metrics import interval
from slideloop.features.environment import machine_of
from slideloop.learning.database import Database, place_of, references, slide_of
from slideloop.learning.engines import SESSION_START
from slideloop.studies.ground import Ground
from slideloop.studies.journal import Journal, new_id
from slideloop.studies.loop import Loop, create_study
from slideloop.studies.prediction import cell_mask as lay_on_grid
from slideloop.studies.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slideloop.evaluation.subjects import Subject
    from slideloop.features.workspace import IndexedSlide
    from slideloop.learning.engine import Engine
    from slideloop.masks.cells import CellMask


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
    masks_after : tuple of int
        After which sessions the masks are kept, besides the last one's.
    full_supervision : bool
        Whether what all labels would come to is measured as well.
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
    masks_after: tuple[int, ...] = ()
    full_supervision: bool = False

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
    masks : dict of int to list of CellMask
        By session that the protocol asks for, one of each slide; empty before two classes were
        labelled.
    """

    strategy: str
    seed: int
    engine: str
    curve: list[dict[str, Any]]
    loop: Loop
    n_boundary: int
    masks: dict[int, list[CellMask]] = field(default_factory=dict[int, "list[CellMask]"])


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
    """Refuse an experiment that wants more labels than there are patches, or masks of no session.

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
    for session in protocol.masks_after:
        if not 1 <= session <= protocol.sessions:
            raise InvalidInputError(
                f"There is no session {session} after which a mask could be kept.",
                hint=f"Sessions are counted from 1 to {protocol.sessions}, one per query.",
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
        if number in protocol.masks_after:
            run.masks[number] = []
            with suppress(NotTrainedError):
                slides = range(len(subject.slides))
                run.masks[number] = [cell_mask(loop, subject, slide) for slide in slides]
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
    main = "accuracy" if subject.of_tiles else "f1_unreviewed"
    searched = set(subject.search_slides)
    others = set[int]() if subject.of_tiles else {*range(len(subject.stores))} - searched
    found = {"comparison": searched} | ({"comparison_not_searched": others} if others else {})
    rankings = {
        name: {main: as_records(compare([played], main, slides=slides))}
        for name, slides in found.items()
    }
    return {**played, "data": subject.distribution(), "summary": summary(runs), **rankings}


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
