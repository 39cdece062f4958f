"""One round's arithmetic: which patches to show next (Algorithm 1, steps 1 to 3).

Owns the step from scores to the patches shown. Everything it needs stands in `RoundInputs`, so
that it runs while the study goes on, and again at any later time.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slideloop.learning.database import place_of, slide_of
from slideloop.learning.ranking import nearest_first
from slideloop.learning.sampling import arrays_of, choose
from slideloop.slides.grid import patch_id

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slideloop.learning.database import Database, QueryFeatures, SearchSet
    from slideloop.learning.engine import Models, Progress, Scores
    from slideloop.studies.ground import Ground
    from slideloop.studies.settings import Settings
    from slideloop.studies.study import Study


@dataclass(frozen=True)
class RoundInputs:
    """What the patches of a round follow from.

    Attributes
    ----------
    head : dict
        First fields of the event: session, round, round_id, seed.
    settings : Settings
    search : SearchSet
    gone : ndarray of int64
        References that are not shown again.
    query : QueryFeatures
    relevant : ndarray of int64
        References that refine the query.
    class_idx : int
        Class of the query.
    model_round : int
        Training whose models rank, 0 for none.
    slides : list of dict
        Records of the study's slides.
    """

    head: dict[str, Any]
    settings: Settings
    search: SearchSet
    gone: NDArray[np.int64]
    query: QueryFeatures
    relevant: NDArray[np.int64]
    class_idx: int
    model_round: int
    slides: list[dict[str, Any]]


def round_inputs(
    study: Study, ground: Ground, number: int, search: SearchSet | None = None
) -> RoundInputs:
    """Return what the next round's patches follow from now.

    Parameters
    ----------
    study : Study
        In a session.
    ground : Ground
    number : int
        Of the study's rounds, those undone counted, from 1 on.
    search : SearchSet, optional
        None: all that is indexed now.
    """
    session, round_number = study.session, study.next_round
    refine = study.settings.refine_query and round_number > 1
    search = search or ground.search_set(study)
    return RoundInputs(
        head={
            "session": session.id,
            "round": round_number,
            "round_id": str(uuid.uuid5(uuid.UUID(study.id), f"round/{number}")),
            "seed": study.seed_of("round", len(study.sessions), round_number),
        },
        settings=study.settings,
        search=search,
        gone=np.fromiter(ground.gone(study, search), np.int64),
        query=ground.features_of(session),
        relevant=study.relevant() if refine else np.zeros(0, np.int64),
        class_idx=study.class_idx(session.label),
        model_round=0 if study.starts_fresh else study.n_trainings,
        slides=study.slides,
    )


def sample_round(
    ground: Ground,
    inputs: RoundInputs,
    models: Models | None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Rank the search set and sample a round; return the data of its event.

    Parameters
    ----------
    ground : Ground
    inputs : RoundInputs
    models : Models or None
        None: as before any training.
    progress : callable, optional
        See `slideloop.learning.engine.Progress`.

    Returns
    -------
    dict
        `patches` is empty if nothing is left to show.
    """
    settings = inputs.settings
    is_unseen = np.ones(len(inputs.search), bool)
    is_unseen[inputs.search.positions(inputs.gone)] = False
    unseen = np.flatnonzero(is_unseen)
    data: dict[str, Any] = {
        **inputs.head,
        "strategy": settings.strategy,
        "strategy_used": settings.strategy,
        "engine": settings.engine,
        "model_round": inputs.model_round,
        "n_pool": len(unseen),
        "patches": [],
        "notes": [],
        **ground.search_data(inputs.search),
    }
    if not len(unseen):
        return data
    scores = ground.engine.score(
        ground.database,
        inputs.search,
        models,
        inputs.query,
        inputs.relevant,
        inputs.class_idx,
        progress,
    )
    order = unseen[nearest_first(scores.key[unseen])]
    is_positive = entropy = None
    if scores.probability is not None:
        is_positive = (scores.probability.argmax(1) == inputs.class_idx)[order]
        if "entropy" in arrays_of(settings.strategy):
            entropy = _entropy(scores.probability)[order]
    picks, used = choose(
        settings.strategy,
        order,
        settings.k,
        rng=np.random.default_rng(inputs.head["seed"]),
        is_positive=is_positive,
        entropy=entropy,
    )
    data["strategy_used"] = used
    ranks = _ranks(order, picks.patches)
    refs = inputs.search.references(picks.patches)
    data["patches"] = [
        _patch(inputs, ground.database, int(ref), rank, reason, scores, position)
        for ref, rank, reason, position in zip(
            refs, ranks, picks.reasons, picks.patches.tolist(), strict=True
        )
    ]
    data["notes"] = _notes(inputs, models, used)
    return data


def _ranks(order: NDArray[np.int64], picks: NDArray[np.int64]) -> list[int]:
    """Return the rank of each pick: its place in `order`, of which it is a member."""
    ranks = np.flatnonzero(np.isin(order, picks))
    rank_of = dict(zip(order[ranks].tolist(), ranks.tolist(), strict=True))
    return [rank_of[pick] for pick in picks.tolist()]


def _patch(
    inputs: RoundInputs,
    database: Database,
    ref: int,
    rank: int,
    reason: str,
    scores: Scores,
    position: int,
) -> dict[str, Any]:
    slide, place = slide_of(ref), place_of(ref)
    column, row = database.stores[slide].cells[place].tolist()
    return {
        "id": id_of_patch(inputs.slides[slide], column, row),
        "slide": slide,
        "place": place,
        "column": column,
        "row": row,
        "rank": rank,
        "distance": float(scores.distance[position]),
        "probability": _probability(scores, position, inputs.class_idx),
        "reason": reason,
    }


def id_of_patch(record: dict[str, Any], column: int, row: int) -> str:
    """Return the id of a patch of a recorded slide or tile folder."""
    grid = record.get("grid", {"patch_px0": 0, "stride_px0": 0})
    return patch_id(record["fingerprint"], grid["patch_px0"], grid["stride_px0"], column, row)


def _probability(scores: Scores, position: int, class_idx: int) -> float | None:
    if scores.probability is None:
        return None
    # A class that was added after the training has no column.
    row = scores.probability[position]
    return float(row[class_idx]) if class_idx < len(row) else 0.0


def _notes(inputs: RoundInputs, models: Models | None, used: str) -> list[dict[str, str]]:
    notes: list[dict[str, str]] = []
    if used != inputs.settings.strategy:
        notes.append({"code": "fallback", "text": f"No classifier yet: sampled as {used}."})
    if models is not None and not models.has_classifier:
        text = "Labels of one class only: nothing can be learnt until a second one is labelled."
        notes.append({"code": "one_class", "text": text})
    return notes


def _entropy(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropy of each row, in nats."""
    logs = np.log(np.clip(probability, np.finfo(np.float64).tiny, None))
    return -(probability * logs).sum(1)
