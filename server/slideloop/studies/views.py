"""Studies and rounds as they go over the wire (interfaces.md, Objects).

Owns the shape of these two objects; everything else stays with whoever knows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from slideloop.studies.study import Session, Study


def study_view(study: Study, journal: dict[str, Any]) -> dict[str, Any]:
    """Return a study; `journal` is the head {seq, hash}."""
    settings = study.settings
    return {
        "id": study.id,
        "name": study.name,
        "slides": [record["id"] for record in study.slides],
        "search_slides": [study.slides[number]["id"] for number in study.search_slides],
        "mode": settings.mode,
        "classes": list(settings.classes),
        "positive": settings.positive,
        "strategy": settings.strategy,
        "rounds": settings.rounds,
        "k": settings.k,
        "engine": settings.engine,
        "seed": settings.seed,
        "refine_query": settings.refine_query,
        "session_start": settings.session_start,
        "n_labels": study.n_labels(),
        "n_query_labels": study.n_given("query"),
        "n_region_labels": study.n_given("region"),
        "sessions": [
            {
                "id": session.id,
                "query": _query(study, session),
                "rounds_done": session.rounds_done,
            }
            for session in study.sessions
        ],
        "state": study.state,
        "archived": study.archived,
        "journal": journal,
    }


def round_view(
    study: Study,
    n_pool: Callable[[Study], int],
    progress: float,
    notes: list[dict[str, str]],
) -> dict[str, Any]:
    """Return the current round.

    Parameters
    ----------
    study : Study
    n_pool : callable
        Counts the patches that could be shown now; asked only where none are shown.
    progress : float
        Of what the round waits for, 0 to 1.
    notes : list of dict
        {code, text}, beside those of the round itself.

    Raises
    ------
    StudyStateError
        Before the first query.
    """
    session = study.session
    is_open = study.state == "labelling" and study.round is not None
    shown: dict[str, Any] = study.round.data if is_open and study.round else {}
    waits = study.state in ("indexing", "training") and session.rounds_done < study.next_round
    number = study.next_round if waits else session.rounds_done
    return {
        "study": study.id,
        "session": session.id,
        "round": shown.get("round", number),
        "rounds": study.settings.rounds,
        "round_id": shown.get("round_id"),
        "state": study.state,
        "query": _query(study, session),
        "strategy": study.settings.strategy,
        "strategy_used": shown.get("strategy_used"),
        "engine": study.settings.engine,
        "model_round": shown.get("model_round", study.n_trainings),
        "n_pool": shown["n_pool"] if shown else n_pool(study),
        "progress": progress,
        "patches": [_patch(study, patch) for patch in shown.get("patches", [])],
        "labels": dict(study.round.labels) if is_open and study.round else {},
        "remaining": study.round.remaining if is_open and study.round else 0,
        "notes": [*shown.get("notes", []), *notes],
    }


def _query(study: Study, session: Session) -> dict[str, Any]:
    x, y, width, height = session.rectangle
    return {
        "slide": study.slides[session.slide]["id"],
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "label": session.label,
    }


def _patch(study: Study, patch: dict[str, Any]) -> dict[str, Any]:
    slide: int = patch["slide"]
    record = study.slides[slide]
    side, step = record["grid"]["patch_px0"], record["grid"]["stride_px0"]
    return {
        "id": patch["id"],
        "slide": record["id"],
        "x": patch["column"] * step,
        "y": patch["row"] * step,
        "width": side,
        "height": side,
        "rank": patch["rank"],
        "distance": patch["distance"],
        "probability": patch["probability"],
        "reason": patch["reason"],
    }
