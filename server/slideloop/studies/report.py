"""What a study came to and what it cost: labels, effort, timings, settings.

Owns the counting over a journal. Knows nothing of how the report is sent or shown.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from slideloop.studies.undo import effective

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slideloop.studies.journal import Event
    from slideloop.studies.study import Study

_OF_THE_SERVER = ("round_shown", "training_started", "training_done", "prediction")
"""What is done without anybody asking at that moment."""

_UNDONE_NAMES = {
    "query": "queries",
    "label": "labels",
    "region": "regions",
    "round_shown": "rounds",
    "training_done": "trainings",
}


def report(events: Sequence[Event], study: Study) -> dict[str, Any]:
    """Count what a study came to.

    Parameters
    ----------
    events : sequence of Event
        The whole journal.
    study : Study
        Its fold.

    Returns
    -------
    dict
        JSON-ready. What was undone counts in `undone` alone. Times are those of the journal, ISO
        8601 in UTC; names ending in `_s` are seconds, pauses of the expert included.
    """
    count = effective(events)
    rounds = _rounds(events, count)
    trainings = _trainings(count)
    slides = _slides(events, study)
    return {
        "study": {
            "id": study.id,
            "name": study.name,
            "state": study.state,
            "archived": study.archived,
        },
        "created": events[0].time,
        "updated": events[-1].time,
        "settings": study.settings.as_dict(),
        "changes": _changes(count),
        "slides": slides,
        "labels": {
            "n_labels": study.n_labels(),
            "n_query_labels": study.n_given("query"),
            "n_region_labels": study.n_given("region"),
        },
        "sessions": _sessions(count, study),
        "rounds": rounds,
        "regions": _regions(count, study),
        "trainings": trainings,
        "predictions": _predictions(count),
        "effort": _effort(study, slides, rounds, trainings),
        "readers": _readers(count),
        "undone": _undone(events, count),
        "journal": events[-1].receipt,
    }


def _changes(count: Iterable[Event]) -> list[dict[str, Any]]:
    return [
        {
            "time": event.time,
            "changes": {name: value for name, value in event.data.items() if name != "event_id"},
        }
        for event in count
        if event.type == "settings"
    ]


def _slides(events: Iterable[Event], study: Study) -> list[dict[str, Any]]:
    """Return the slides, each with the most patches of it that any step had."""
    n_patches = [int(record.get("n_patches", 0)) for record in study.slides]
    for event in events:
        known: int | list[int] = event.data.get("prefix", [])
        # A query's is that of its own slide, a round's and a training's are those of all.
        of_slides = enumerate(known) if isinstance(known, list) else [(event.data["slide"], known)]
        for number, n in of_slides:
            # A journal with an undone slide keeps what was counted of it.
            if number < len(n_patches):
                n_patches[number] = max(n_patches[number], n)
    kept = ("id", "name", "fingerprint", "width", "height", "mpp", "grid", "filter")
    return [
        {
            **{name: record.get(name) for name in kept},
            "n_patches": n_patches[number],
            "is_searched": number in study.search_slides,
        }
        for number, record in enumerate(study.slides)
    ]


def _sessions(count: Iterable[Event], study: Study) -> list[dict[str, Any]]:
    queries = [event for event in count if event.type == "query"]
    return [
        {
            "id": session.id,
            "time": event.time,
            "slide": study.slides[session.slide]["id"],
            "rectangle": list(session.rectangle),
            "label": session.label,
            "reader": event.data.get("reader"),
            "rounds_done": session.rounds_done,
        }
        for event, session in zip(queries, study.sessions, strict=True)
    ]


def _rounds(events: Sequence[Event], count: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the rounds that showed patches, in order, with the labels that they got."""
    waited = _waited(events)
    sessions: dict[str, int] = {}
    rounds: dict[str, dict[str, Any]] = {}
    answers: dict[str, dict[str, str]] = {}
    newest = ""
    shown: set[str] = set()
    for event in count:
        data = event.data
        if event.type == "query":
            sessions[data["session"]] = len(sessions) + 1
            shown = set()
        elif event.type == "round_shown" and data["patches"]:
            newest = data["round_id"]
            shown = {patch["id"] for patch in data["patches"]}
            rounds[newest] = _round(event, sessions[data["session"]], waited[event.seq])
        elif event.type == "label":
            answered = answers.setdefault(data["round_id"], {})
            answered[data["patch"]] = data["label"]
            row = rounds[data["round_id"]]
            row["labels"] = dict(Counter(answered.values()))
            row["seconds"] = _seconds(row["time"], event.time)
            shown.discard(data["patch"])
        elif event.type == "region":
            given = shown.intersection(data["patches"])
            shown -= given
            if given:
                rounds[newest]["n_given"] += len(given)
    return list(rounds.values())


def _round(event: Event, session: int, waited_s: float) -> dict[str, Any]:
    data = event.data
    return {
        "session": session,
        "round": data["round"],
        "round_id": data["round_id"],
        "time": event.time,
        "strategy": data["strategy"],
        "strategy_used": data["strategy_used"],
        "engine": data["engine"],
        "model_round": data["model_round"],
        "n_pool": data["n_pool"],
        "n_shown": len(data["patches"]),
        "labels": {},
        "n_given": 0,
        "waited_s": waited_s,
        "seconds": None,
    }


def _waited(events: Iterable[Event]) -> dict[int, float]:
    """Return, by the seq of each round, how long the expert waited for it."""
    waited: dict[int, float] = {}
    asked = ""
    for event in events:
        if event.type == "round_shown":
            waited[event.seq] = _seconds(asked, event.time)
        elif event.type not in _OF_THE_SERVER or "asked" in event.data:
            asked = event.time
    return waited


def _regions(count: Iterable[Event], study: Study) -> list[dict[str, Any]]:
    return [
        {
            "time": event.time,
            "slide": study.slides[event.data["slide"]]["id"],
            "label": event.data["label"],
            "n_given": len(event.data["places"]),
            "n_train": len(event.data["train"]),
            "reader": event.data.get("reader"),
        }
        for event in count
        if event.type == "region"
    ]


def _trainings(count: Sequence[Event]) -> list[dict[str, Any]]:
    n_trained = {event.seq: event.data["n"] for event in count if event.type == "training_started"}
    return [
        {
            "model_round": event.data["model_round"],
            "time": event.time,
            "n_trained": n_trained.get(event.data["started"]),
            "metric": event.data["metric"],
            "classifier": event.data["classifier"],
            "digest": event.data["digest"],
            "seconds": event.data.get("seconds"),
        }
        for event in count
        if event.type == "training_done"
    ]


def _predictions(count: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the newest prediction of each slide."""
    newest: dict[str, dict[str, Any]] = {}
    for event in count:
        if event.type == "prediction" and "sha256" in event.data:
            kept = ("slide", "model_round", "n", "sha256")
            newest[event.data["slide"]] = {
                "time": event.time,
                **{name: event.data[name] for name in kept},
            }
    return list(newest.values())


def _effort(
    study: Study,
    slides: list[dict[str, Any]],
    rounds: list[dict[str, Any]],
    trainings: list[dict[str, Any]],
) -> dict[str, Any]:
    n_reviewed = sum(study.n_labels().values())
    n_patches = sum(slide["n_patches"] for slide in slides if slide["is_searched"])
    labelled = [row for row in rounds if row["seconds"] is not None]
    seconds = [row["seconds"] for row in labelled]
    n_answers = sum(sum(row["labels"].values()) for row in labelled)
    return {
        "n_reviewed": n_reviewed,
        "n_queries": len(study.sessions),
        "n_rounds": len(rounds),
        "n_patches": n_patches,
        "share": round(n_reviewed / n_patches, 6) if n_patches else None,
        "labelling_s": round(sum(seconds), 3),
        "round_s": round(median(seconds), 3) if seconds else None,
        "label_s": round(sum(seconds) / n_answers, 3) if n_answers else None,
        "waited_s": round(sum(row["waited_s"] for row in rounds), 3),
        "training_s": round(sum(row["seconds"] or 0 for row in trainings), 3),
    }


def _readers(count: Iterable[Event]) -> list[dict[str, Any]]:
    """Return who judged how much; None stands for requests that did not say who."""
    done: dict[str | None, Counter[str]] = {}
    for event in count:
        if event.type in ("query", "label", "region"):
            done.setdefault(event.data.get("reader"), Counter())[event.type] += 1
    return [
        {
            "reader": reader,
            "n_queries": n["query"],
            "n_labels": n["label"],
            "n_regions": n["region"],
        }
        for reader, n in done.items()
    ]


def _undone(events: Iterable[Event], count: Iterable[Event]) -> dict[str, int]:
    kept = {event.seq for event in count}
    gone = Counter(event.type for event in events if event.seq not in kept)
    return {"times": gone["undo"], **{name: gone[type_] for type_, name in _UNDONE_NAMES.items()}}


def _seconds(start: str, end: str) -> float:
    """Return the seconds between two times of the journal; a clock set back gives 0."""
    elapsed = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return round(max(elapsed.total_seconds(), 0.0), 3)
