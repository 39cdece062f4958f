"""Taking back: labels, regions, queries and rounds, bit for bit as before."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.studies_played import (
    TRUTH,
    answer,
    loop_on,
    made_up_store,
    play_session,
    shown_rounds,
    true_class,
)

from slideloop.errors import NothingToUndoError
from slideloop.features.store import FeatureStore
from slideloop.features.workspace import IndexedSlide
from slideloop.learning.database import Database
from slideloop.learning.linear import LinearEngine
from slideloop.studies.drawing import prepare_region
from slideloop.studies.ground import Ground
from slideloop.studies.journal import Event, Journal, new_id
from slideloop.studies.loop import Loop, create_study
from slideloop.studies.replay import replay
from slideloop.studies.settings import Settings

TUMOR, NORMAL = np.flatnonzero(TRUTH == 0).tolist(), np.flatnonzero(TRUTH == 1).tolist()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return made_up_store(tmp_path_factory.mktemp("store"))


def snapshot(loop: Loop) -> dict[str, Any]:
    """Everything that an undo must give back: labels, pool, sessions, round, models."""
    state = copy.deepcopy(vars(loop.study))
    for session in state["sessions"]:
        session.on_grid = session.on_grid.tolist()
    del state["seen"]  # what was once shown stays known
    models = loop.models
    return {**state, "models": models.digest if models else None}


def label_one(loop: Loop, name: str | None = None) -> None:
    current = loop.study.round
    assert current is not None
    patch = next(patch for patch in current.shown if patch not in current.labels)
    loop.label(patch, name or true_class(current.shown[patch]), current.id)


def test_a_label_is_taken_back(store: FeatureStore) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    label_one(loop)
    before = snapshot(loop)
    label_one(loop)
    assert snapshot(loop) != before
    loop.undo("last")
    assert snapshot(loop) == before


def test_a_label_that_was_changed_gets_its_earlier_name_back(store: FeatureStore) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    current = loop.study.round
    assert current is not None
    patch = next(iter(current.shown))
    loop.label(patch, "Tumor", current.id)
    loop.label(patch, "unsure", current.id)
    loop.undo("last")
    assert loop.study.round is not None
    assert loop.study.round.labels == {patch: "Tumor"}


def test_undo_goes_back_over_the_border_of_a_round_and_its_training(store: FeatureStore) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    answer(loop)
    loop.settle()
    for _ in range(3):
        label_one(loop)
    before = snapshot(loop)
    label_one(loop)
    loop.settle()
    assert loop.study.state == "session_over"
    assert loop.study.n_trainings == 2
    loop.undo("last")
    assert snapshot(loop) == before
    assert loop.study.state == "labelling"


def test_undo_then_the_same_label_gives_the_same_study(store: FeatureStore) -> None:
    loop = loop_on(store, rounds=3)
    loop.query_patch(TUMOR[0], "Tumor")
    answer(loop)
    loop.settle()
    answer(loop)
    loop.settle()
    shown, models = shown_rounds(loop)[-1], loop.models
    loop.undo("last")
    label_one(loop)
    loop.settle()
    again = shown_rounds(loop)[-1]
    assert again["patches"] == shown["patches"]
    assert again["round_id"] != shown["round_id"]
    assert loop.models is not None and models is not None
    assert loop.models.digest == models.digest


def test_a_query_is_taken_back_with_its_patches(store: FeatureStore) -> None:
    loop = loop_on(store)
    play_session(loop, TUMOR[0])
    before = snapshot(loop)
    loop.query_patch(NORMAL[0], "Normal")
    loop.undo("last")
    assert snapshot(loop) == before


def test_the_query_before_the_first_one_is_a_new_study(store: FeatureStore) -> None:
    loop = loop_on(store)
    before = snapshot(loop)
    loop.query_patch(TUMOR[0], "Tumor")
    loop.undo("last")
    assert snapshot(loop) == before
    assert loop.study.state == "new"


def test_undo_goes_back_to_the_start_and_then_says_so(store: FeatureStore) -> None:
    loop = loop_on(store)
    states: list[dict[str, Any]] = []

    def act(step: Callable[[], None]) -> None:
        states.append(snapshot(loop))
        step()

    act(lambda: loop.query_patch(TUMOR[0], "Tumor"))
    for _ in range(8):
        act(lambda: label_one(loop))
        loop.settle()
    act(lambda: loop.query_patch(NORMAL[0], "Normal"))
    for _ in range(3):
        act(lambda: label_one(loop))
    for state in reversed(states):
        loop.undo("last")
        loop.settle()
        assert snapshot(loop) == state
    with pytest.raises(NothingToUndoError) as caught:
        loop.undo("last")
    assert caught.value.code == "nothing_to_undo"


def test_undo_of_a_round_takes_the_open_rounds_labels(store: FeatureStore) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    answer(loop)
    loop.settle()
    before = snapshot(loop)
    label_one(loop)
    label_one(loop)
    loop.undo("round")
    assert snapshot(loop) == before


def test_undo_of_a_round_without_labels_opens_the_one_before(store: FeatureStore) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    before = snapshot(loop)
    answer(loop)
    loop.settle()
    loop.undo("round")
    assert snapshot(loop) == before
    with pytest.raises(NothingToUndoError):
        loop.undo("round")


def test_undo_of_a_round_goes_over_a_later_query(store: FeatureStore) -> None:
    loop = loop_on(store, rounds=1)
    loop.query_patch(TUMOR[0], "Tumor")
    before = snapshot(loop)
    answer(loop)
    loop.settle()
    loop.query_patch(NORMAL[0], "Normal")
    loop.undo("round")
    assert snapshot(loop) == before


def test_settings_and_wishes_stay_when_what_lay_before_them_is_undone(store: FeatureStore) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    label_one(loop)
    loop.record("settings", {"name": "renamed", "strategy": "entropy"})
    loop.record("prediction", {"asked": ["another slide"]})
    loop.undo("last")
    assert loop.study.name == "renamed"
    assert loop.study.settings.strategy == "entropy"
    assert loop.study.asked == {"another slide"}
    assert loop.study.round is not None and not loop.study.round.labels


def test_a_journal_with_undos_replays_every_round(store: FeatureStore) -> None:
    loop = loop_on(store, rounds=3)
    loop.query_patch(TUMOR[0], "Tumor")
    answer(loop)
    loop.settle()
    loop.undo("last")
    label_one(loop, "Normal")
    loop.settle()
    loop.undo("round")
    answer(loop)
    loop.settle()
    found = replay(loop.journal, Database([store]), LinearEngine(), [None])
    assert found.differences == ()
    assert found.n_rounds == 4
    assert found.n_trainings == 3


def test_a_study_read_again_after_undos_is_the_same(store: FeatureStore) -> None:
    loop = loop_on(store)
    play_session(loop, TUMOR[0])
    loop.undo("last")
    again = Loop(loop.journal, Ground(Database([store]), LinearEngine(), [None]))
    assert snapshot(again) == snapshot(loop)


# Regions on a slide --------------------------------------------------------------------------


@pytest.fixture
def on_slide(indexed_slide: IndexedSlide) -> Loop:
    journal = Journal(new_id())
    settings = Settings.checked(classes=("Tumor", "Normal"), rounds=2, k=4, seed=3)
    create_study(journal, settings, [indexed_slide.record()])
    ground = Ground(Database([indexed_slide.store]), LinearEngine(), [indexed_slide])
    return Loop(journal, ground)


def square(x: float, y: float, width: float, height: float) -> dict[str, Any]:
    ring = [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]
    return {"type": "Polygon", "coordinates": [ring]}


def draw(loop: Loop, label: str, geometry: dict[str, Any], train_now: bool) -> Event:
    return loop.region(prepare_region(loop.ground, 0, geometry), label, train_now)


def test_a_region_is_taken_back(on_slide: Loop) -> None:
    on_slide.query_patch(0, "Tumor")
    label_one_of_slide(on_slide)
    before = snapshot(on_slide)
    draw(on_slide, "Normal", square(0, 0, 700, 500), train_now=True)
    on_slide.settle()
    assert snapshot(on_slide) != before
    on_slide.undo("last")
    assert snapshot(on_slide) == before


def test_a_region_stays_when_the_round_before_it_is_undone(on_slide: Loop) -> None:
    on_slide.query_patch(0, "Tumor")
    label_one_of_slide(on_slide)
    event = draw(on_slide, "exclude", square(0, 0, 700, 500), train_now=False)
    on_slide.undo("round")
    on_slide.settle()
    given = on_slide.study.n_given("region")
    assert given == len(event.data["places"]) > 0


def test_a_study_with_a_region_replays(on_slide: Loop) -> None:
    on_slide.query_patch(0, "Tumor")
    draw(on_slide, "Normal", square(0, 0, 700, 500), train_now=True)
    on_slide.settle()
    found = replay(
        on_slide.journal, on_slide.ground.database, LinearEngine(), on_slide.ground.slides
    )
    assert found.differences == ()
    assert found.n_trainings == 1


def label_one_of_slide(loop: Loop) -> None:
    current = loop.study.round
    assert current is not None
    loop.label(next(iter(current.shown)), "Tumor", current.id)


def test_models_that_were_not_kept_are_trained_again_alike(
    store: FeatureStore, tmp_path: Path
) -> None:
    loop = loop_on(store, rounds=3)
    play_session(loop, TUMOR[0])
    assert loop.models is not None
    again = Loop(loop.journal, Ground(Database([store]), LinearEngine(), [None]))
    assert again.models is not None
    assert again.models.digest == loop.models.digest
    assert again.is_as_recorded()
