"""The report: what is counted, what is not, and how long things took."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.studies_played import TRUTH, answer, loop_on, made_up_store, play_session

from slideloop.features.store import FeatureStore
from slideloop.features.workspace import IndexedSlide
from slideloop.learning.database import Database
from slideloop.learning.linear import LinearEngine
from slideloop.studies.drawing import prepare_region
from slideloop.studies.ground import Ground
from slideloop.studies.journal import Event, Journal, new_id
from slideloop.studies.loop import Loop, create_study
from slideloop.studies.report import report
from slideloop.studies.settings import Settings
from slideloop.studies.study import Study

TUMOR = np.flatnonzero(TRUTH == 0).tolist()
START = "2026-03-01T08:00:00.000+00:00"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return made_up_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def on_slide(indexed_slide: IndexedSlide) -> Loop:
    journal = Journal(new_id())
    settings = Settings.checked(classes=("Tumor", "Normal"), rounds=2, k=4, seed=3)
    create_study(journal, settings, [indexed_slide.record()])
    return Loop(journal, Ground(Database([indexed_slide.store]), LinearEngine(), [indexed_slide]))


def report_of(events: Sequence[Event]) -> dict[str, Any]:
    return report(events, Study.of(events))


def timed(events: Sequence[Event], seconds: Sequence[float]) -> list[Event]:
    """The events as if each had come so many seconds after the one before."""
    now = datetime.fromisoformat(START)
    changed: list[Event] = []
    for event, later in zip(events, seconds, strict=True):
        now += timedelta(seconds=later)
        changed.append(replace(event, time=now.isoformat(timespec="milliseconds")))
    return changed


def square(side: float) -> dict[str, Any]:
    ring = [[0, 0], [side, 0], [side, side], [0, side], [0, 0]]
    return {"type": "Polygon", "coordinates": [ring]}


def give_all(loop: Loop, reader: str | None = None) -> Event:
    """Give all of the slide a label."""
    region = prepare_region(loop.ground, 0, square(2000))
    return loop.region(region, "Normal", False, reader)


def first_patch(loop: Loop) -> tuple[str, str]:
    current = loop.study.round
    assert current is not None
    return next(iter(current.shown)), current.id


def test_a_study_without_a_query_has_a_report(store: FeatureStore) -> None:
    found = report_of(loop_on(store).journal.events)
    assert found["study"]["state"] == "new"
    assert (found["sessions"], found["rounds"], found["trainings"]) == ([], [], [])
    assert found["effort"]["share"] is None
    assert found["effort"]["round_s"] is None
    assert found["labels"]["n_labels"] == {"Tumor": 0, "Normal": 0, "unsure": 0, "exclude": 0}


def test_labels_are_counted_per_class_and_round(store: FeatureStore) -> None:
    loop = loop_on(store)
    says = iter(["Tumor", "Normal", "Normal", "unsure", "Tumor", "Tumor", "Tumor", "exclude"])
    play_session(loop, TUMOR[0], say=lambda _: next(says))
    found = report_of(loop.journal.events)
    assert [row["labels"] for row in found["rounds"]] == [
        {"Tumor": 1, "Normal": 2, "unsure": 1},
        {"Tumor": 3, "exclude": 1},
    ]
    assert found["labels"]["n_labels"] == {"Tumor": 4, "Normal": 2, "unsure": 1, "exclude": 1}
    assert [(row["session"], row["round"]) for row in found["rounds"]] == [(1, 1), (1, 2)]


def test_a_label_that_was_changed_counts_as_what_it_is_now(store: FeatureStore) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    patch, round_id = first_patch(loop)
    loop.label(patch, "Tumor", round_id, "Ada")
    loop.label(patch, "Normal", round_id, "Ada")
    found = report_of(loop.journal.events)
    assert found["rounds"][0]["labels"] == {"Normal": 1}
    assert found["readers"] == [
        {"reader": None, "n_queries": 1, "n_labels": 0, "n_regions": 0},
        {"reader": "Ada", "n_queries": 0, "n_labels": 2, "n_regions": 0},
    ]


def test_what_was_undone_counts_among_the_undone_alone(store: FeatureStore) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    answer(loop)
    loop.settle()
    before = report_of(loop.journal.events)
    assert (len(before["rounds"]), len(before["trainings"])) == (2, 1)
    loop.undo("last")
    found = report_of(loop.journal.events)
    assert (len(found["rounds"]), len(found["trainings"])) == (1, 0)
    assert sum(found["rounds"][0]["labels"].values()) == 3
    assert found["undone"] == {
        "times": 1,
        "queries": 0,
        "labels": 1,
        "regions": 0,
        "rounds": 1,
        "trainings": 1,
    }


def test_rounds_say_how_long_they_took_and_were_waited_for(store: FeatureStore) -> None:
    loop = loop_on(store)
    play_session(loop, TUMOR[0])
    types = [event.type for event in loop.journal.events]
    assert types == [
        "study_created",
        *("query", "round_shown", *["label"] * 4, "training_started", "training_done"),
        *("round_shown", *["label"] * 4, "training_started", "training_done"),
    ]
    seconds = (0, 60, 2, 1, 1, 1, 3, 0.5, 4, 1, 2, 2, 2, 4, 0.5, 7)
    found = report_of(timed(loop.journal.events, seconds))
    assert [row["seconds"] for row in found["rounds"]] == [6, 10]
    assert [row["waited_s"] for row in found["rounds"]] == [2, 5.5]
    effort = found["effort"]
    assert effort["labelling_s"] == 16
    assert effort["round_s"] == 8
    assert effort["label_s"] == 2
    assert effort["waited_s"] == 7.5
    assert (found["created"], found["updated"]) == (START, "2026-03-01T08:01:31.000+00:00")


def test_a_round_shown_again_after_an_undo_was_waited_for_from_then_on(
    store: FeatureStore,
) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    answer(loop)
    loop.settle()
    loop.undo("last")
    patch = next(iter(p for p in first_shown(loop) if p not in labelled(loop)))
    loop.label(patch, "Tumor", first_patch(loop)[1])
    loop.settle()
    events = loop.journal.events
    n = len(events)
    seconds = [0.0] * (n - 3) + [1, 1, 1]
    seconds[next(i for i, event in enumerate(events) if event.type == "undo")] = 3600
    found = report_of(timed(events, seconds))
    assert found["rounds"][1]["waited_s"] == 3


def first_shown(loop: Loop) -> list[str]:
    assert loop.study.round is not None
    return list(loop.study.round.shown)


def labelled(loop: Loop) -> set[str]:
    assert loop.study.round is not None
    return set(loop.study.round.labels)


def test_a_clock_that_was_set_back_gives_no_negative_times(store: FeatureStore) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    answer(loop)
    seconds = [0.0, 5, -3, *[-1.0] * 4]
    found = report_of(timed(loop.journal.events, seconds))
    assert found["rounds"][0]["waited_s"] == 0
    assert found["rounds"][0]["seconds"] == 0


def test_trainings_say_on_how_many_labels_and_how_long(store: FeatureStore) -> None:
    loop = loop_on(store)
    play_session(loop, TUMOR[0])
    found = report_of(loop.journal.events)
    done = [event.data for event in loop.journal.events if event.type == "training_done"]
    assert [row["model_round"] for row in found["trainings"]] == [1, 2]
    assert [row["n_trained"] for row in found["trainings"]] == [5, 9]
    assert [row["seconds"] for row in found["trainings"]] == [data["seconds"] for data in done]
    assert [row["digest"] for row in found["trainings"]] == [data["digest"] for data in done]


def test_the_share_is_of_the_patches_that_were_searched(store: FeatureStore) -> None:
    loop = loop_on(store)
    play_session(loop, TUMOR[0])
    effort = report_of(loop.journal.events)["effort"]
    assert (effort["n_reviewed"], effort["n_patches"]) == (8, 120)
    assert effort["share"] == pytest.approx(8 / 120, abs=1e-6)


def test_a_region_is_counted_with_what_it_gave_and_trains(on_slide: Loop) -> None:
    on_slide.query_patch(0, "Tumor")
    event = give_all(on_slide, "Ada")
    found = report_of(on_slide.journal.events)
    (row,) = found["regions"]
    assert (row["n_given"], row["n_train"]) == (len(event.data["places"]), 64)
    assert (row["label"], row["reader"]) == ("Normal", "Ada")
    assert found["labels"]["n_region_labels"] == row["n_given"] == 118


def test_open_patches_that_a_region_answers_are_not_counted_as_judged(on_slide: Loop) -> None:
    on_slide.query_patch(0, "Tumor")
    patch, round_id = first_patch(on_slide)
    on_slide.label(patch, "Tumor", round_id)
    give_all(on_slide)
    row = report_of(on_slide.journal.events)["rounds"][0]
    assert row["labels"] == {"Tumor": 1}
    assert row["n_given"] == row["n_shown"] - 1 == 3


def test_a_region_in_a_later_session_answers_nothing_of_an_earlier_round(on_slide: Loop) -> None:
    on_slide.query_patch(0, "Tumor")
    on_slide.query_patch(5, "Tumor")
    give_all(on_slide)
    found = report_of(on_slide.journal.events)
    assert [row["n_given"] for row in found["rounds"]] == [0, 4]
    assert [row["session"] for row in found["rounds"]] == [1, 2]


def test_settings_that_were_changed_are_told_with_their_time(store: FeatureStore) -> None:
    loop = loop_on(store)
    event = loop.record("settings", {"name": "renamed", "k": 7, "event_id": new_id()})
    found = report_of(loop.journal.events)
    assert found["changes"] == [{"time": event.time, "changes": {"name": "renamed", "k": 7}}]
    assert found["settings"]["k"] == 7
    assert found["study"]["name"] == "renamed"


def test_of_each_slide_the_newest_prediction_is_named(store: FeatureStore) -> None:
    loop = loop_on(store)
    for model_round in (1, 2):
        made = {"slide": store.id, "model_round": model_round, "n": 120, "digest": "d"}
        loop.record("prediction", {**made, "sha256": str(model_round) * 64})
    loop.record("prediction", {"asked": ["another"], "event_id": new_id()})
    (row,) = report_of(loop.journal.events)["predictions"]
    assert (row["slide"], row["model_round"], row["sha256"]) == (store.id, 2, "2" * 64)


def test_a_report_is_json_and_names_the_head_of_its_journal(on_slide: Loop) -> None:
    play_on_slide(on_slide)
    found = report_of(on_slide.journal.events)
    newest = on_slide.journal.events[-1]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["journal"] == {"seq": newest.seq, "hash": newest.hash}


def test_a_report_does_not_say_where_slides_lie(on_slide: Loop) -> None:
    play_on_slide(on_slide)
    found = report_of(on_slide.journal.events)
    folder = str(Path(on_slide.study.slides[0]["path"]).parent)
    assert found["slides"][0]["name"] == "small.tif"
    assert folder not in json.dumps(found)


def play_on_slide(loop: Loop) -> None:
    loop.query_patch(0, "Tumor")
    while loop.study.state == "labelling":
        for number, patch in enumerate(first_shown(loop)):
            loop.label(patch, ("Tumor", "Normal")[number % 2], first_patch(loop)[1])
        loop.settle()
