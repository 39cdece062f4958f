"""Undo while the trained heads of the faithful engine are at work, and their models afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_round_states import (
    WAIT_S,
    asks,
    finish_round,
    label_all,
    new_study,
    query,
    slide_ids,
    types_of,
)
from tests.services import quick_settings

from slideloop.studies.live import LiveStudy
from slideloop.studies.models import ModelKeeper
from slideloop.studies.service import Service, open_service
from slideloop.studies.slides import SlideRequest
from slideloop.studies.trainings import models_of

pytestmark = pytest.mark.slow

LONG = {"epochs": 1000}
SHORT = {"epochs": 2}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faithful")


@pytest.fixture(scope="module")
def service(workspace: Path, small_slides: Path) -> Iterator[Service]:
    opened = open_service(quick_settings(workspace))
    _, job = opened.slides.open(SlideRequest(small_slides / "small.tif"))
    assert job is not None
    opened.jobs.wait(job["id"], 60)
    yield opened
    opened.close()


def faithful(service: Service, training: dict[str, Any]) -> LiveStudy:
    return new_study(service, engine="faithful", training=training, rounds=3)


def digest_now(study: LiveStudy) -> str:
    """Digest of the models that rank the next round."""
    loop = study.steps.loop
    training = loop.study.training
    assert training is not None
    return models_of(loop.ground, training, loop.journal.events).digest


def until_training(study: LiveStudy) -> None:
    end = time.monotonic() + WAIT_S
    while "training_started" not in types_of(study) and time.monotonic() < end:
        time.sleep(0.01)


def test_undo_stops_a_training_and_opens_its_round_within_a_second(service: Service) -> None:
    study = faithful(service, LONG)
    shown = query(service, study)
    label_all(study, shown)
    until_training(study)
    time.sleep(0.5)
    start = time.monotonic()
    body = study.undo("last", asks()).body
    assert time.monotonic() - start < 1
    assert (body["state"], body["round_id"]) == ("labelling", shown["round_id"])
    # The worker is free again for others, long before that training would have ended.
    other = faithful(service, SHORT)
    query(service, other)
    assert finish_round(other)["state"] == "labelling"
    assert time.monotonic() - start < WAIT_S
    assert "training_done" not in types_of(study)


def test_a_waiting_round_tells_how_far_the_training_is(service: Service) -> None:
    study = faithful(service, LONG)
    label_all(study, query(service, study))
    until_training(study)
    first = study.round(0.3)
    second = study.round(0.3)
    assert first["state"] == second["state"] == "training"
    assert first["round_id"] is None
    assert 0 <= first["progress"] < second["progress"] < 1
    study.undo("round", asks())


def test_labels_of_another_study_do_not_wait_for_a_training(service: Service) -> None:
    busy, other = faithful(service, LONG), new_study(service)
    label_all(busy, query(service, busy))
    until_training(busy)
    start = time.monotonic()
    label_all(other, query(service, other))
    assert other.round(WAIT_S)["round"] == 2
    assert time.monotonic() - start < WAIT_S
    assert busy.round(0)["state"] == "training"
    busy.undo("round", asks())


def test_undo_over_a_round_gives_both_models_back_bit_for_bit(service: Service) -> None:
    study = faithful(service, SHORT)
    query(service, study)
    finish_round(study)
    before, mask = digest_now(study), study.prediction(slide_ids(service)[0], WAIT_S)
    finish_round(study)
    assert digest_now(study) != before
    study.undo("round", asks())
    assert digest_now(study) == before
    again = study.prediction(slide_ids(service)[0], WAIT_S)
    assert again.model_round == mask.model_round == 1
    assert (again.label == mask.label).all()
    assert (again.probability == mask.probability).all()


def test_models_of_before_an_undo_come_from_the_disk_or_are_trained_again_alike(
    service: Service, workspace: Path
) -> None:
    study = faithful(service, SHORT)
    query(service, study)
    for _ in range(2):
        finish_round(study)
    recorded = [e.data["digest"] for e in study.journal.events if e.type == "training_done"]
    kept = workspace / "studies" / study.id / "models"
    assert {path.stem for path in kept.iterdir()} == set(recorded)
    study.undo("round", asks())
    ground = study.steps.loop.ground
    ground.models = ModelKeeper(ground.engine, kept)  # nothing in memory
    assert digest_now(study) == recorded[0]
    ground.models = ModelKeeper(ground.engine, kept)  # nothing in memory
    for path in kept.iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    assert digest_now(study) == recorded[0]
