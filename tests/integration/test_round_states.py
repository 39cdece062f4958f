"""The table of round states, cell by cell, on a study in service (interfaces.md, Rounds)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services import quick_settings

from slideloop.errors import (
    EventIdReusedError,
    InvalidInputError,
    NothingToUndoError,
    NotInRoundError,
    PoolExhaustedError,
    StaleRoundError,
    StudyStateError,
    UnknownPatchError,
)
from slideloop.evaluation.generated import Scene, write_slide
from slideloop.features.encoders import Encoder
from slideloop.learning.database import Database
from slideloop.learning.linear import LinearEngine
from slideloop.studies.live import Answer, LiveStudy, Request
from slideloop.studies.replay import replay
from slideloop.studies.service import Service, open_service
from slideloop.studies.slides import SlideRequest

WAIT_S = 20.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, small_slides: Path) -> Iterator[Service]:
    opened = open_service(quick_settings(tmp_path_factory.mktemp("service")))
    for name in ("small", "other"):
        _, job = opened.slides.open(SlideRequest(small_slides / f"{name}.tif"))
        assert job is not None
        assert opened.jobs.wait(job["id"], 60)["state"] == "done"
    yield opened
    opened.close()


def slide_ids(service: Service) -> list[str]:
    return [slide["id"] for slide in service.slides.all()]


def asks(event_id: str | None = None, body: str = "") -> Request:
    return Request(event_id or str(uuid.uuid4()), body)


def new_study(service: Service, n_slides: int = 1, **more: Any) -> LiveStudy:
    fields = {
        "slides": slide_ids(service)[:n_slides],
        "classes": ["Tumor", "Normal"],
        "rounds": 2,
        "k": 4,
        **more,
    }
    answer = service.studies.create(fields, asks())
    assert answer.status == 201
    return service.studies.get(answer.body["id"])


def tissue(service: Service, number: int = 0) -> tuple[str, tuple[float, float, float, float]]:
    """A patch of a slide that can be queried by."""
    slide = service.slides.get(slide_ids(service)[number])
    return slide.id, slide.grid.rectangle(*slide.store.cells[3].tolist())


def query(service: Service, study: LiveStudy, label: str = "Tumor") -> dict[str, Any]:
    answer = study.query(*tissue(service), label, asks())
    assert answer.status == 201
    return study.round(WAIT_S)


def label_all(study: LiveStudy, shown: dict[str, Any]) -> list[Answer]:
    names = ("Tumor", "Normal")
    return [
        study.label(patch["id"], names[n % 2], shown["round_id"], asks())
        for n, patch in enumerate(shown["patches"])
        if patch["id"] not in shown["labels"]
    ]


def finish_round(study: LiveStudy) -> dict[str, Any]:
    label_all(study, study.round(WAIT_S))
    return study.round(WAIT_S)


def types_of(study: LiveStudy) -> list[str]:
    return [event.type for event in study.journal.events]


# Queries -------------------------------------------------------------------------------------


def test_there_is_no_round_before_the_first_query(service: Service) -> None:
    with pytest.raises(StudyStateError) as caught:
        new_study(service).round(0)
    assert caught.value.code == "no_session"


def test_a_query_on_an_indexed_slide_is_answered_with_its_first_patches(service: Service) -> None:
    study = new_study(service)
    answer = study.query(*tissue(service), "Tumor", asks())
    assert (answer.status, answer.body["state"]) == (201, "labelling")
    assert len(answer.body["patches"]) == 4
    assert answer.body["journal"]["seq"] == 2


def test_a_query_while_labelling_closes_the_round_and_keeps_its_labels(service: Service) -> None:
    study = new_study(service)
    first = query(service, study)
    study.label(first["patches"][0]["id"], "Normal", first["round_id"], asks())
    second = query(service, study)
    assert second["session"] != first["session"]
    assert study.view()["n_labels"]["Normal"] == 1
    with pytest.raises(StaleRoundError):
        study.label(first["patches"][1]["id"], "Normal", first["round_id"], asks())


def test_a_query_while_training_lets_the_training_go_on(service: Service) -> None:
    study = new_study(service)
    label_all(study, query(service, study))
    second = query(service, study)
    assert (second["round"], second["state"]) == (1, "labelling")
    assert second["model_round"] == 1
    assert types_of(study).count("training_done") == 1


def test_a_query_of_an_exhausted_study_is_refused(service: Service) -> None:
    study = new_study(service, k=60, rounds=5)
    query(service, study)
    while study.round(WAIT_S)["state"] == "labelling":
        finish_round(study)
    assert study.round(0)["state"] == "exhausted"
    with pytest.raises(PoolExhaustedError) as caught:
        study.query(*tissue(service), "Tumor", asks())
    assert caught.value.code == "pool_exhausted"
    assert types_of(study).count("query") == 1


def test_an_exhausted_study_goes_on_with_another_slide(service: Service) -> None:
    study = new_study(service, k=60, rounds=5)
    query(service, study)
    while study.round(WAIT_S)["state"] == "labelling":
        finish_round(study)
    other = slide_ids(service)[1]
    assert study.add_slide(other, asks()).status == 201
    shown = study.round(WAIT_S)
    assert shown["state"] == "labelling"
    assert {patch["slide"] for patch in shown["patches"]} == {other}


# Labels --------------------------------------------------------------------------------------


def test_the_last_label_ends_the_round_in_its_own_transaction(service: Service) -> None:
    study = new_study(service)
    shown = query(service, study)
    *others, last = label_all(study, shown)
    assert [answer.body["round_complete"] for answer in others] == [False] * 3
    assert (last.body["round_complete"], last.body["remaining"]) == (True, 0)
    following = study.round(WAIT_S)
    assert (following["round"], following["state"], following["model_round"]) == (2, "labelling", 1)
    assert not {p["id"] for p in following["patches"]} & {p["id"] for p in shown["patches"]}


def test_after_its_last_round_the_session_is_over(service: Service) -> None:
    study = new_study(service)
    query(service, study)
    finish_round(study)
    assert finish_round(study)["state"] == "session_over"
    shown = study.round(0)
    assert (shown["round_id"], shown["patches"], shown["round"]) == (None, [], 2)
    assert study.view()["sessions"][0]["rounds_done"] == 2


def test_a_label_for_another_round_is_stale(service: Service) -> None:
    study = new_study(service)
    shown = query(service, study)
    with pytest.raises(StaleRoundError):
        study.label(shown["patches"][0]["id"], "Tumor", str(uuid.uuid4()), asks())


def test_a_label_for_a_patch_of_an_earlier_round_is_not_in_round(service: Service) -> None:
    study = new_study(service)
    first = query(service, study)
    second = finish_round(study)
    with pytest.raises(NotInRoundError):
        study.label(first["patches"][0]["id"], "Tumor", second["round_id"], asks())


def test_a_label_for_no_patch_is_unknown(service: Service) -> None:
    study = new_study(service)
    shown = query(service, study)
    with pytest.raises(UnknownPatchError):
        study.label(str(uuid.uuid4()), "Tumor", shown["round_id"], asks())


def test_the_newest_label_counts_and_both_are_in_the_journal(service: Service) -> None:
    study = new_study(service)
    shown = query(service, study)
    patch = shown["patches"][0]["id"]
    for name in ("Tumor", "unsure", "Normal"):
        study.label(patch, name, shown["round_id"], asks())
    assert study.round(0)["labels"] == {patch: "Normal"}
    assert types_of(study).count("label") == 3


def test_several_labels_are_taken_all_or_none(service: Service) -> None:
    study = new_study(service)
    shown = query(service, study)
    ids = [patch["id"] for patch in shown["patches"]]
    with pytest.raises(UnknownPatchError):
        study.labels(shown["round_id"], [(ids[0], "Tumor"), ("nobody", "Tumor")], asks())
    assert study.round(0)["labels"] == {}
    answer = study.labels(shown["round_id"], [(patch, "Tumor") for patch in ids], asks())
    assert answer.body["round_complete"]


# Once is enough ------------------------------------------------------------------------------


def test_the_same_label_twice_is_one_event_with_one_answer(service: Service) -> None:
    study = new_study(service)
    shown = query(service, study)
    request = asks(body="label")
    arguments = (shown["patches"][0]["id"], "Tumor", shown["round_id"], request)
    first, again = study.label(*arguments), study.label(*arguments)
    assert first == again
    assert types_of(study).count("label") == 1


def test_a_label_sent_again_after_its_round_changed_gets_its_first_answer(
    service: Service,
) -> None:
    study = new_study(service)
    shown = query(service, study)
    request = asks(body="label")
    arguments = (shown["patches"][0]["id"], "Tumor", shown["round_id"], request)
    first = study.label(*arguments)
    finish_round(study)
    assert study.label(*arguments) == first
    study.undo("round", asks())
    assert study.label(*arguments) == first


def test_an_event_id_for_another_request_is_refused(service: Service) -> None:
    study = new_study(service)
    shown = query(service, study)
    event_id = str(uuid.uuid4())
    patch = shown["patches"][0]["id"]
    study.label(patch, "Tumor", shown["round_id"], asks(event_id, "one"))
    with pytest.raises(EventIdReusedError):
        study.label(patch, "Normal", shown["round_id"], asks(event_id, "another"))


def test_an_undo_retried_after_a_lost_answer_takes_back_once(service: Service) -> None:
    study = new_study(service)
    shown = query(service, study)
    for patch in shown["patches"][:3]:
        study.label(patch["id"], "Tumor", shown["round_id"], asks())
    request = asks(body="undo")
    first, again = study.undo("last", request), study.undo("last", request)
    assert first == again
    assert len(study.round(0)["labels"]) == 2


def test_a_query_sent_twice_is_one_session(service: Service) -> None:
    study = new_study(service)
    request = asks(body="query")
    first = study.query(*tissue(service), "Tumor", request)
    again = study.query(*tissue(service), "Tumor", request)
    assert first == again
    assert len(study.view()["sessions"]) == 1


def test_a_study_made_twice_is_one(service: Service) -> None:
    fields = {"slides": slide_ids(service)[:1], "classes": ["Tumor", "Normal"]}
    request = asks(body="create")
    first = service.studies.create(fields, request)
    assert service.studies.create(fields, request) == first


# Undo ----------------------------------------------------------------------------------------


def test_undo_of_the_label_that_ended_a_round_opens_it_again(service: Service) -> None:
    study = new_study(service)
    shown = query(service, study)
    label_all(study, shown)
    body = study.undo("last", asks()).body
    assert (body["state"], body["round_id"]) == ("labelling", shown["round_id"])
    assert len(body["labels"]) == 3
    finish_round(study)
    body = study.undo("last", asks()).body
    assert (body["round"], body["remaining"]) == (1, 1)


def test_undo_of_the_only_query_leaves_a_new_study(service: Service) -> None:
    study = new_study(service)
    query(service, study)
    body = study.undo("last", asks()).body
    assert body == {"study": study.id, "state": "new", "journal": study.view()["journal"]}
    with pytest.raises(NothingToUndoError):
        study.undo("last", asks())


# Regions -------------------------------------------------------------------------------------


def region_of(service: Service, columns: int = 6, rows: int = 6) -> dict[str, Any]:
    side = service.slides.get(slide_ids(service)[0]).grid.patch_px0
    x, y = columns * side, rows * side
    return {"type": "Polygon", "coordinates": [[[0, 0], [x, 0], [x, y], [0, y], [0, 0]]]}


def give(service: Service, study: LiveStudy, label: str, train: bool = False) -> Answer:
    return study.region(slide_ids(service)[0], label, region_of(service), train, asks())


def test_a_region_before_the_first_query_trains_with_its_first_round(service: Service) -> None:
    study = new_study(service)
    answer = give(service, study, "Normal")
    assert answer.body["n_given"] == answer.body["n_train"] > 4
    assert study.view()["n_region_labels"] == answer.body["n_given"]
    finish_of = query(service, study)
    label_all(study, finish_of)
    study.round(WAIT_S)
    started = [e.data for e in study.journal.events if e.type == "training_started"]
    assert started[0]["n"] >= answer.body["n_train"] + 4


def test_a_region_can_train_now(service: Service) -> None:
    study = new_study(service)
    query(service, study)
    give(service, study, "Normal", train=True)
    found = study.prediction(slide_ids(service)[0], WAIT_S)
    assert found.model_round == 1
    assert study.round(0)["state"] == "labelling"


def test_the_open_rounds_patches_in_a_region_count_as_labelled(service: Service) -> None:
    study = new_study(service, k=40)
    query(service, study)
    give(service, study, "Normal")
    shown = study.round(0)
    assert 0 < shown["remaining"] < 40
    assert set(shown["labels"].values()) == {"Normal"}


def test_a_region_in_a_session_that_is_over_changes_labels_and_the_mask(
    service: Service,
) -> None:
    study = new_study(service)
    query(service, study)
    finish_round(study)
    finish_round(study)
    answer = give(service, study, "exclude")
    found = study.prediction(slide_ids(service)[0])
    assert (found.label == -1).sum() == answer.body["n_given"]


# Coming back ---------------------------------------------------------------------------------


def test_a_study_goes_on_where_it_was_after_a_restart(tmp_path: Path, small_slides: Path) -> None:
    first = open_service(quick_settings(tmp_path))
    _, job = first.slides.open(SlideRequest(small_slides / "small.tif"))
    assert job is not None
    first.jobs.wait(job["id"], 60)
    study = new_study(first)
    query(first, study)
    finish_round(study)
    shown = study.round(WAIT_S)
    study.label(shown["patches"][0]["id"], "Normal", shown["round_id"], asks())
    view, current = study.view(), study.round(0)
    mask = study.prediction(slide_ids(first)[0], WAIT_S)
    first.close()
    second = open_service(quick_settings(tmp_path))
    try:
        again = second.studies.get(study.id)
        assert again.round(0) == current
        assert {**again.view(), "journal": None} == {**view, "journal": None}
        found = again.prediction(slide_ids(second)[0], WAIT_S)
        assert (found.label == mask.label).all()
        assert (found.probability == mask.probability).all()
    finally:
        second.close()


def test_the_first_patches_come_while_the_slide_is_indexed(
    tmp_path: Path, small_slides: Path
) -> None:
    opened = open_service(quick_settings(tmp_path))
    try:
        slide, job = opened.slides.open(SlideRequest(small_slides / "small.tif"))
        study = new_study(opened)
        access = opened.slides.get(slide["id"])
        answer = study.query(slide["id"], (700.0, 500.0, 96.0, 96.0), "Tumor", asks())
        assert answer.status == 201
        shown = study.round(60)
        assert shown["state"] == "labelling"
        assert len(shown["patches"]) == 4
        assert job is not None
        opened.jobs.wait(job["id"], 60)
        assert access.store.is_complete
    finally:
        opened.close()


def test_a_change_of_nothing_is_refused(service: Service) -> None:
    study = new_study(service)
    with pytest.raises(InvalidInputError, match="changes nothing"):
        study.change({}, asks())


def test_a_study_played_while_its_slide_was_indexed_replays_exactly(
    tmp_path: Path, squeezenet: Encoder
) -> None:
    write_slide(Scene(3, 2560, 1920), tmp_path / "slide.tif")
    opened = open_service(quick_settings(tmp_path / "workspace"))
    try:
        slide, job = opened.slides.open(SlideRequest(tmp_path / "slide.tif"))
        study = new_study(opened, rounds=3)
        access = opened.slides.get(slide["id"])
        assert job is not None
        study.query(slide["id"], (1200.0, 900.0, 250.0, 200.0), "Tumor", asks())
        finish_round(study)
        give_now = {
            "type": "Polygon",
            "coordinates": [[[0, 0], [900, 0], [900, 700], [0, 700], [0, 0]]],
        }
        study.region(slide["id"], "Normal", give_now, True, asks())
        finish_round(study)
        study.undo("last", asks())
        finish_round(study)
        opened.jobs.wait(job["id"], 120)
        finish_round(study)
        prefixes = [e.data["prefix"][0] for e in study.journal.events if "prefix" in e.data
                    and isinstance(e.data["prefix"], list)]  # fmt: skip
        assert prefixes[0] < prefixes[-1] == len(access.store)
        region = next(e.data for e in study.journal.events if e.type == "region")
        assert region["cells"]  # some of it was not indexed yet
        given = study.prediction(slide["id"], WAIT_S).given
        columns, rows = access.store.cells[given].T
        inside = (columns < 9) & (rows < 7)
        assert inside.sum() > len(region["places"])  # those indexed later count as given too
        trained = [e.data["n"] for e in study.journal.events if e.type == "training_started"][-1]
        n_query = sum(e.type == "query" for e in study.journal.events)
        judged = sum(study.study.n_labels().values()) + n_query
        assert trained > judged + len(region["train"])  # and some of those train
        found = replay(study.journal, Database([access.store]), LinearEngine(), [access])
        assert found.differences == ()
        assert found.n_rounds >= 4
    finally:
        opened.close()
