"""What a study's present models are worth: on its slides, on held-out tiles, beside all labels.

Owns which patches are measured and with which labels; the arithmetic is that of `metrics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slideloop.errors import InvalidInputError, NotTrainedError
from slideloop.evaluation.metrics import macro_over_slides, precision_at_10, slide_measures
from slideloop.learning.database import Database, LabelledSet, references
from slideloop.studies.prediction import best_of
from slideloop.studies.settings import EXCLUDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from slideloop.evaluation.subjects import Subject
    from slideloop.learning.engine import Engine, Models, Progress
    from slideloop.studies.loop import Loop

MEASURES = ("f1", "f1_macro", "jaccard", "iou_mask", "accuracy")
TILE_MEASURES = ("accuracy", "perfect_p10", "p10")


def measure(loop: Loop, subject: Subject, reserved: list[list[int]]) -> dict[str, Any]:
    """Measure the study's present models on all slides, or on the held-out tiles.

    Returns
    -------
    dict
        Means over the slides; with several also `by_slide`, a dict for each.
    """
    if subject.of_tiles:
        return _measure_tiles(loop.ground.engine, loop.ground.database, loop.models, subject)
    per_slide = [
        _measure_slide(loop, subject, slide, reserved[slide])
        for slide in range(len(subject.stores))
    ]
    measured: dict[str, Any] = dict(macro_over_slides(per_slide))
    return measured if len(per_slide) == 1 else {**measured, "by_slide": per_slide}


def full_supervision(
    subject: Subject, engine: Engine, seed: int, progress: Progress | None = None
) -> dict[str, Any]:
    """Train an engine on every patch that can be searched, and measure it where none was.

    That is what a study would come to if the expert labelled everything (paper, Fig. 2).

    Parameters
    ----------
    subject : Subject
        Tile folders, or slides of which not all are searched.
    engine : Engine
    seed : int
        Of the training.
    progress : callable, optional
        Takes the share of the training that is done.

    Returns
    -------
    dict
        `n_labels`; `accuracy`, `perfect_p10` and `p10` on the held-out tiles, or the measures of
        the slides that are not searched, averaged over them, and `by_slide`, None for the others.

    Raises
    ------
    InvalidInputError
        If every slide is searched: nothing is left to measure on.
    """
    others = sorted({*range(len(subject.stores))} - {*subject.search_slides})
    if not others:
        raise InvalidInputError(
            "With every patch labelled, nothing is left to measure full supervision on.",
            hint="Add a slide, and name with --search-slide those that are labelled.",
        )
    database = Database(subject.stores)
    labels = [subject.truths[slide].label for slide in sorted(subject.search_slides)]
    refs = [
        references(slide, np.arange(len(of_slide)))
        for slide, of_slide in zip(sorted(subject.search_slides), labels, strict=True)
    ]
    labelled = LabelledSet(np.concatenate(refs), np.concatenate(labels).astype(np.int64))
    search = database.present(subject.search_slides)
    models = engine.train(database, labelled, search, len(subject.classes), seed, progress)
    if subject.of_tiles:
        measured = _measure_tiles(engine, database, models, subject)
    else:
        of = {s: _scores(subject, s, _predicted(engine, database, models, s)) for s in others}
        by_slide = [of.get(slide) for slide in range(len(subject.stores))]
        measured = {**macro_over_slides(list(of.values())), "by_slide": by_slide}
    return {"n_labels": len(labelled.refs), **measured}


def _predicted(engine: Engine, database: Database, models: Models, slide: int) -> NDArray[np.int16]:
    """Return the classes of all patches of a slide, or of a folder of tiles."""
    store = database.stores[slide]
    return best_of(engine.predict(store, len(store), models))[0]


def _measure_slide(
    loop: Loop, subject: Subject, slide: int, reserved: list[int]
) -> dict[str, float | int | None]:
    try:
        predicted = loop.predict(slide).label
    except NotTrainedError:
        # Nothing learnt, nothing measured: null, not a made-up answer.
        names = [f"{name}{suffix}" for name in MEASURES for suffix in ("", "_unreviewed")]
        return dict.fromkeys(names)
    labels = loop.study.labels_of(slide)
    excluded = [place for place, label in labels.items() if label.name == EXCLUDE]
    return _scores(subject, slide, predicted, [*reserved, *excluded], list(labels))


def _scores(
    subject: Subject,
    slide: int,
    label: NDArray[np.int16],
    left_out: Sequence[int] = (),
    reviewed: Sequence[int] = (),
) -> dict[str, float | int | None]:
    """Score a slide's predicted classes; all but `subject` and `slide` by place in the index."""
    truth, store = subject.truths[slide], subject.stores[slide]
    assert truth.grid_label is not None and truth.boundary is not None
    assert truth.cell_share is not None and truth.cell_area is not None
    column, row = store.cells[:, 0], store.cells[:, 1]
    predicted = np.full(truth.grid_label.shape, -1, np.int16)
    is_scored = np.zeros(truth.grid_label.shape, bool)
    is_reviewed = np.zeros(truth.grid_label.shape, bool)
    predicted[row, column] = label
    is_scored[row, column] = True
    for place in left_out:
        is_scored[row[place], column[place]] = False
    for place in reviewed:
        is_reviewed[row[place], column[place]] = True
    return slide_measures(
        truth.grid_label,
        predicted,
        n_classes=len(subject.classes),
        positive_idx=0,
        scored=is_scored,
        reviewed=is_reviewed,
        boundary=truth.boundary,
        cell_positive_share=truth.cell_share,
        cell_area_px0=truth.cell_area,
        annotated_area_px0=truth.annotated_area,
    )


def _measure_tiles(
    engine: Engine, database: Database, models: Models | None, subject: Subject
) -> dict[str, float | None]:
    """Measure accuracy and P@10 on the held-out tiles, the last store (paper, Fig. 2)."""
    held_out = len(subject.stores) - 1
    label = subject.truths[held_out].label.astype(np.int64)
    k = min(10, len(label) - 1)
    neighbours = engine.nearest(database, held_out, models, label, k)
    precision = precision_at_10(label, neighbours, len(subject.classes))
    accuracy = None
    if models is not None and models.has_classifier:
        accuracy = float((_predicted(engine, database, models, held_out) == label).mean())
    return {"accuracy": accuracy, "perfect_p10": precision.perfect_p10, "p10": precision.p10}
