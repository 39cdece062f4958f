"""One training: what it learns from, and its models again at any later time (algorithm.md 3.4).

Owns the inputs of a training and the way back to the models of an earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slideloop.errors import JournalError
from slideloop.learning.database import LabelledSet, SearchSet
from slideloop.studies.study import Study, Training
from slideloop.studies.undo import effective

if TYPE_CHECKING:
    from slideloop.learning.engine import Models, Progress
    from slideloop.studies.ground import Ground
    from slideloop.studies.journal import Event


@dataclass(frozen=True)
class TrainingInputs:
    """What one training learns from.

    Attributes
    ----------
    started : dict
        Data of the event that begins it.
    labelled : LabelledSet
    n_classes : int
    """

    started: dict[str, Any]
    labelled: LabelledSet
    n_classes: int


def training_inputs(
    study: Study, ground: Ground, search: SearchSet | None = None
) -> TrainingInputs:
    """Return what a training learns from: all labels since the start of the study.

    Parameters
    ----------
    study : Study
    ground : Ground
    search : SearchSet, optional
        None: all that is indexed now.
    """
    model_round = study.n_trainings + 1
    search = search or ground.search_set(study)
    refs, labels = ground.trainable(study, search)
    started = {
        "model_round": model_round,
        "seed": study.seed_of("training", model_round),
        "n": len(refs),
        **ground.search_data(search),
    }
    squares = tuple(
        (ground.features_of(session), study.class_idx(session.label))
        for session in study.sessions
        if session.squares_at
    )
    return TrainingInputs(started, LabelledSet(refs, labels, squares), len(study.settings.classes))


def run_training(
    ground: Ground, inputs: TrainingInputs, progress: Progress | None = None
) -> Models:
    """Train; see `slideloop.learning.engine.Progress`."""
    return ground.engine.train(
        ground.database,
        inputs.labelled,
        SearchSet(tuple(inputs.started["prefix"])),
        inputs.n_classes,
        inputs.started["seed"],
        progress,
    )


def training_data(started: Event, models: Models) -> dict[str, Any]:
    """Return what is recorded of a training that ended, but its time."""
    return {
        "model_round": started.data["model_round"],
        "metric": models.has_metric,
        "classifier": models.has_classifier,
        "digest": models.digest,
        "started": started.seq,
    }


def models_of(
    ground: Ground,
    training: Training,
    events: Sequence[Event],
    progress: Progress | None = None,
) -> Models:
    """Return the models of a training, trained again as then where they were not kept.

    Parameters
    ----------
    ground : Ground
    training : Training
    events : sequence of Event
        A journal in which that training counts.
    progress : callable, optional

    Raises
    ------
    JournalError
        If the journal tells of no such training.
    """
    models = ground.models.get(training.digest)
    if models is None:
        then = [event for event in effective(events) if event.seq <= training.started]
        if then[-1].type != "training_started":
            raise JournalError(
                f"Training {training.model_round} has no beginning in the journal.",
                hint="Take the journal from a backup.",
            )
        search = SearchSet(tuple(then[-1].data["prefix"]))
        models = run_training(
            ground, training_inputs(Study.of(then[:-1]), ground, search), progress
        )
        ground.models.keep(training.digest, models)
    return models
