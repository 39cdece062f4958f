"""What happens in which order: rounds on made-up features, queries on a real small slide."""

from __future__ import annotations

import copy
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.studies_played import (
    TRUTH,
    answer,
    loop_on,
    made_up_store,
    play_session,
    record_of,
    settings_of,
    shown_rounds,
    true_class,
)
from tests.synthetic_stores import features_of, identity_of, write_store

from slideloop.errors import (
    ClassRefusedError,
    NotTrainedError,
    OnGlassError,
    OutsideSlideError,
    PoolExhaustedError,
    QueryNotRelevantError,
    StaleRoundError,
    StudyStateError,
    UnknownPatchError,
)
from slideloop.features.store import FeatureStore
from slideloop.features.workspace import IndexedSlide
from slideloop.learning.database import Database, reference
from slideloop.learning.linear import LinearEngine
from slideloop.studies.ground import Ground
from slideloop.studies.journal import Journal, new_id
from slideloop.studies.loop import Loop, create_study
from slideloop.studies.study import Study

TUMOR, NORMAL = np.flatnonzero(TRUTH == 0).tolist(), np.flatnonzero(TRUTH == 1).tolist()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return made_up_store(tmp_path_factory.mktemp("store"))


def types_of(loop: Loop) -> list[str]:
    return [event.type for event in loop.journal.events]


def place_lists(loop: Loop) -> list[list[int]]:
    return [[patch["place"] for patch in shown["patches"]] for shown in shown_rounds(loop)]


# Rounds --------------------------------------------------------------------------------------


def test_a_session_is_query_rounds_labels_and_trainings(store: FeatureStore) -> None:
    loop = loop_on(store)
    play_session(loop, TUMOR[0])
    one_round = ["round_shown", *["label"] * 4, "training_started", "training_done"]
    assert types_of(loop) == ["study_created", "query", *one_round, *one_round]
    assert loop.study.state == "session_over"


def test_no_patch_is_shown_twice_in_a_study(store: FeatureStore) -> None:
    loop = loop_on(store, rounds=3)
    for query in (TUMOR[0], NORMAL[0], TUMOR[1]):
        play_session(loop, query, true_class(query))
    places = [place for places in place_lists(loop) for place in places]
    assert len(places) == 36 == len(set(places))
    assert not {TUMOR[0]} & set(places)


def test_a_shown_patch_has_its_rank_and_reason(store: FeatureStore) -> None:
    loop = loop_on(store, strategy="top_k")
    play_session(loop, TUMOR[0], say=lambda ref: "Tumor" if ref % 2 else "Normal")
    first = shown_rounds(loop)[0]
    assert first["n_pool"] == len(TRUTH) - 1
    assert [patch["rank"] for patch in first["patches"]] == [0, 1, 2, 3]
    assert {patch["reason"] for patch in first["patches"]} == {"top"}
    distances = [patch["distance"] for patch in first["patches"]]
    assert distances == sorted(distances)
    assert all(patch["probability"] is None for patch in first["patches"])
    assert all(0 <= patch["probability"] <= 1 for patch in shown_rounds(loop)[1]["patches"])


def test_patch_ids_are_uuids_that_two_studies_share(store: FeatureStore) -> None:
    loops = [loop_on(store, strategy="top_k") for _ in range(2)]
    for loop in loops:
        loop.query_patch(TUMOR[0], "Tumor")
    ids = [[patch["id"] for patch in shown_rounds(loop)[0]["patches"]] for loop in loops]
    assert ids[0] == ids[1]
    assert all(uuid.UUID(patch).version == 5 for patch in ids[0])
    assert loops[0].study.round and loops[1].study.round
    assert loops[0].study.round.id != loops[1].study.round.id


def test_the_study_is_the_fold_of_its_journal(store: FeatureStore) -> None:
    loop = loop_on(store)
    play_session(loop, TUMOR[0])
    loop.query_patch(NORMAL[0], "Normal")
    answer_one = next(iter(loop.study.round.shown)) if loop.study.round else ""
    assert loop.study.round is not None
    loop.label(answer_one, "unsure", loop.study.round.id)
    again = Loop(loop.journal, Ground(loop.ground.database, LinearEngine(), [None])).study
    live = vars(copy.deepcopy(loop.study))
    folded = vars(again)
    for sessions in (live["sessions"], folded["sessions"]):
        for session in sessions:
            session.on_grid = session.on_grid.tolist()
    assert folded == live


@pytest.mark.parametrize("strategy", ["random", "cnfp"])
def test_the_same_seed_plays_the_same_study(store: FeatureStore, strategy: str) -> None:
    loops = [loop_on(store, strategy=strategy, seed=seed) for seed in (3, 3, 4)]
    for loop in loops:
        play_session(loop, TUMOR[0])
    first, again, other = map(place_lists, loops)
    assert first == again
    assert (first != other) == (strategy == "random")


def test_reserved_patches_are_never_shown(store: FeatureStore) -> None:
    reserved = list(range(2, 110))
    loop = loop_on(store, [reserved], rounds=1)
    play_session(loop, TUMOR[0])
    assert not set(reserved) & {place for places in place_lists(loop) for place in places}
    assert shown_rounds(loop)[0]["n_pool"] == len(TRUTH) - len({*reserved, TUMOR[0]})


def test_a_query_closes_the_open_round_and_keeps_its_labels(store: FeatureStore) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    before = loop.study.round
    assert before is not None
    patches = list(before.shown)
    loop.label(patches[0], "Normal", before.id)
    loop.query_patch(NORMAL[0], "Normal")
    assert loop.study.n_labels()["Normal"] == 1
    with pytest.raises(StaleRoundError):
        loop.label(patches[1], "Normal", before.id)
    assert before.shown[patches[0]] in loop.study.gone
    assert before.shown[patches[0]] not in place_lists(loop)[1]


def test_patches_that_nobody_judged_come_back_with_the_next_query(store: FeatureStore) -> None:
    loop = loop_on(store)
    for number in range(len(store)):
        loop.query_patch((TUMOR, NORMAL)[number % 2][0], ("Tumor", "Normal")[number % 2])
        assert loop.study.state == "labelling"
    assert len(loop.study.gone) == 2 + loop.study.settings.k
    assert Study.of(loop.journal.events).gone == loop.study.gone


# Refusals ------------------------------------------------------------------------------------


def test_what_is_refused_leaves_no_event(store: FeatureStore) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    current = loop.study.round
    assert current is not None
    patch = next(iter(current.shown))
    before = types_of(loop)
    for error, arguments in (
        (StaleRoundError, (patch, "Tumor", "another")),
        (UnknownPatchError, ("no patch", "Tumor", current.id)),
        (ClassRefusedError, (patch, "Stroma", current.id)),
    ):
        with pytest.raises(error):
            loop.label(*arguments)
    with pytest.raises(ClassRefusedError):
        loop.query_patch(NORMAL[0], "exclude")
    with pytest.raises(StudyStateError, match="not labelled to its end"):
        loop.learn()
    assert types_of(loop) == before


def test_in_relevance_mode_another_query_is_refused(store: FeatureStore) -> None:
    loop = loop_on(store, mode="relevance")
    with pytest.raises(QueryNotRelevantError):
        loop.query_patch(NORMAL[0], "Normal")
    assert types_of(loop) == ["study_created"]


def test_a_rectangle_on_tiles_is_refused(store: FeatureStore) -> None:
    with pytest.raises(StudyStateError, match="folder of tiles"):
        loop_on(store).query(0, (0, 0, 10, 10), "Tumor")


# Answers that do not train -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["unsure", "exclude"])
def test_a_round_without_a_trainable_label_trains_nothing_and_keeps_the_models(
    store: FeatureStore, name: str
) -> None:
    loop = loop_on(store, rounds=3)
    loop.query_patch(TUMOR[0], "Tumor")
    answer(loop)
    loop.learn()
    models = loop.models
    assert models is not None and models.has_classifier
    answer(loop, lambda ref: name)
    loop.learn()
    assert types_of(loop)[-2:] == ["label", "round_shown"]
    assert loop.models is models
    assert loop.study.n_trainings == 1
    assert shown_rounds(loop)[-1]["model_round"] == 1
    assert loop.study.n_labels()[name] == 4


def test_the_first_round_without_a_trainable_label_completes_too(store: FeatureStore) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    answer(loop, lambda ref: "exclude")
    loop.learn()
    assert loop.models is None
    assert loop.study.state == "labelling"
    assert shown_rounds(loop)[1]["strategy_used"] == "front_mid_end"


def test_unsure_is_predicted_and_exclude_is_outside(store: FeatureStore) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    answer(loop)
    loop.learn()
    unsure, exclude, wrong, _ = place_lists(loop)[1]
    names = {unsure: "unsure", exclude: "exclude", wrong: "Normal"}
    answer(loop, lambda ref: names.get(ref, true_class(ref)))
    loop.learn()
    prediction = loop.predict(0)
    assert prediction.label[exclude] == -1
    assert prediction.given[exclude]
    assert prediction.label[unsure] >= 0
    assert not prediction.given[unsure]
    assert 0 < prediction.probability[unsure] < 1
    assert (prediction.label[wrong], prediction.probability[wrong]) == (1, 1.0)
    assert (prediction.label[TUMOR[0]], prediction.given[TUMOR[0]]) == (0, True)
    assert prediction.given.sum() == 4 + 3 + 1  # two rounds without the unsure patch, and the query


# One class, no classifier --------------------------------------------------------------------


def test_labels_of_one_class_train_nothing_and_the_round_says_so(store: FeatureStore) -> None:
    loop = loop_on(store, strategy="cnfp")
    loop.query_patch(TUMOR[0], "Tumor")
    answer(loop, lambda ref: "Tumor")
    loop.learn()
    done = next(e.data for e in loop.journal.events if e.type == "training_done")
    assert (done["metric"], done["classifier"]) == (False, False)
    shown = shown_rounds(loop)[1]
    assert {note["code"] for note in shown["notes"]} == {"fallback", "one_class"}
    assert shown["strategy_used"] == "front_mid_end"
    with pytest.raises(NotTrainedError):
        loop.predict(0)


@pytest.mark.parametrize("strategy", ["cnfp", "hybrid", "entropy"])
def test_before_a_classifier_a_round_names_what_sampled(store: FeatureStore, strategy: str) -> None:
    loop = loop_on(store, strategy=strategy)
    play_session(loop, TUMOR[0])
    first, second = shown_rounds(loop)
    assert (first["strategy"], first["strategy_used"]) == (strategy, "front_mid_end")
    assert [note["code"] for note in first["notes"]] == ["fallback"]
    assert second["strategy_used"] == strategy
    assert second["notes"] == []


def test_a_prediction_before_any_training_is_refused(store: FeatureStore) -> None:
    loop = loop_on(store)
    loop.query_patch(TUMOR[0], "Tumor")
    with pytest.raises(NotTrainedError, match="no trained classifier") as caught:
        loop.predict(0)
    assert caught.value.code == "not_trained"


# Session start and refinement ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("session_start", "used", "model_round"),
    [("current", "cnfp", 2), ("pretrained", "front_mid_end", 0)],
)
def test_a_sessions_first_round_is_served_by_the_models_of_the_setting(
    store: FeatureStore, session_start: str, used: str, model_round: int
) -> None:
    loop = loop_on(store, session_start=session_start)
    play_session(loop, TUMOR[0])
    play_session(loop, TUMOR[1])
    third, fourth = shown_rounds(loop)[2:]
    assert (third["strategy_used"], third["model_round"]) == (used, model_round)
    assert (third["patches"][0]["probability"] is None) == (session_start == "pretrained")
    assert (fourth["strategy_used"], fourth["model_round"]) == ("cnfp", 3)


class WatchedEngine(LinearEngine):
    """The engine, with a note of what refined each query."""

    def __init__(self) -> None:
        super().__init__()
        self.relevant: list[list[int]] = []
        self.labels: list[list[int]] = []

    def score(self, *arguments: Any) -> Any:
        self.relevant.append(arguments[4].tolist())
        return super().score(*arguments)

    def train(self, *arguments: Any) -> Any:
        self.labels.append(arguments[1].refs.tolist())
        return super().train(*arguments)


def watched(store: FeatureStore, **more: Any) -> tuple[Loop, WatchedEngine]:
    loop = loop_on(store, **more)
    engine = WatchedEngine()
    loop.ground.engine = engine
    return loop, engine


def tumour_in(rounds: list[list[int]]) -> list[int]:
    return sorted(place for places in rounds for place in places if TRUTH[place] == 0)


def test_a_query_is_refined_by_all_relevant_patches_of_the_study(store: FeatureStore) -> None:
    loop, engine = watched(store, rounds=3, refine_over="study")
    play_session(loop, TUMOR[0])
    play_session(loop, TUMOR[1])
    rounds = place_lists(loop)
    expected = [[], *(tumour_in(rounds[:n]) for n in (1, 2))]
    expected += [[], *(tumour_in(rounds[:n]) for n in (4, 5))]
    assert engine.relevant == expected


def test_a_query_is_refined_by_the_round_just_labelled(store: FeatureStore) -> None:
    loop, engine = watched(store, rounds=3, refine_over="round")
    play_session(loop, TUMOR[0])
    rounds = place_lists(loop)
    assert engine.relevant == [[], tumour_in(rounds[:1]), tumour_in(rounds[1:2])]


def test_without_refinement_the_query_stays_what_was_drawn(store: FeatureStore) -> None:
    loop, engine = watched(store, rounds=3, refine_query=False)
    play_session(loop, TUMOR[0])
    assert engine.relevant == [[], [], []]


def test_every_training_takes_all_labels_since_the_start(store: FeatureStore) -> None:
    loop, engine = watched(store)
    play_session(loop, TUMOR[0])
    play_session(loop, NORMAL[0], "Normal")
    rounds, queries = place_lists(loop), [TUMOR[0], NORMAL[0]]
    labelled = [
        sorted({*queries[: 1 + (n > 2)], *(p for places in rounds[:n] for p in places)})
        for n in (1, 2, 3, 4)
    ]
    assert engine.labels == labelled


# The end -------------------------------------------------------------------------------------


def test_a_study_plays_to_its_last_patch_and_is_exhausted(tmp_path: Path) -> None:
    small = write_store(tmp_path, features_of(TRUTH[:10], (8, 2, 2)))
    loop = loop_on(small, rounds=5)
    play_session(loop, TUMOR[0])
    assert [len(places) for places in place_lists(loop)] == [4, 4, 1, 0]
    assert loop.study.state == "exhausted"
    before = types_of(loop)
    with pytest.raises(PoolExhaustedError) as caught:
        loop.query_patch(TUMOR[1], "Tumor")
    assert caught.value.code == "pool_exhausted"
    assert types_of(loop) == before


def test_a_query_that_takes_the_last_patch_leaves_the_study_exhausted(tmp_path: Path) -> None:
    one = write_store(tmp_path, features_of(TRUTH[:1], (8, 2, 2)))
    loop = loop_on(one)
    loop.query_patch(0, "Tumor")
    assert loop.study.state == "exhausted"


def test_only_search_slides_are_shown(tmp_path: Path) -> None:
    stores = [
        write_store(tmp_path, features_of(TRUTH, (8, 2, 2)), identity=identity_of(name))
        for name in ("a", "b")
    ]
    journal = Journal(new_id())
    create_study(journal, settings_of(), [record_of(s) for s in stores], search_slides=[1])
    loop = Loop(journal, Ground(Database(stores), LinearEngine(), [None, None]))
    loop.query_patch(reference(0, TUMOR[0]), "Tumor")
    answer(loop)
    loop.learn()
    assert {p["slide"] for shown in shown_rounds(loop) for p in shown["patches"]} == {1}
    assert shown_rounds(loop)[0]["prefix"] == [0, len(TRUTH)]
    assert loop.predict(0).label.shape == (len(TRUTH),)


# The query on a slide ------------------------------------------------------------------------


@pytest.fixture
def on_slide(indexed_slide: IndexedSlide) -> Loop:
    journal = Journal(new_id())
    create_study(journal, settings_of(), [indexed_slide.record()])
    return Loop(journal, Ground(Database([indexed_slide.store]), LinearEngine(), [indexed_slide]))


def kept_cells(slide: IndexedSlide) -> NDArray[np.bool_]:
    kept = np.zeros((slide.grid.n_rows, slide.grid.n_columns), bool)
    kept[slide.store.cells[:, 1], slide.store.cells[:, 0]] = True
    return kept


def block_of(slide: IndexedSlide, columns: int, rows: int, *, kept: bool = True) -> tuple[int, int]:
    """First (column, row) of a block of cells that are all kept, or all dropped."""
    is_kept = kept_cells(slide)
    for row in range(is_kept.shape[0] - rows + 1):
        for column in range(is_kept.shape[1] - columns + 1):
            if (is_kept[row : row + rows, column : column + columns] == kept).all():
                return column, row
    raise AssertionError("the test slide has no such block")


def query_event(loop: Loop) -> dict[str, Any]:
    return next(event.data for event in loop.journal.events if event.type == "query")


def places_of(slide: IndexedSlide, cells: list[tuple[int, int]]) -> list[int]:
    places = (slide.place(*cell) for cell in cells)
    return sorted(place for place in places if place is not None)


def test_a_query_equal_to_a_grid_patch_is_that_patch(
    on_slide: Loop, indexed_slide: IndexedSlide
) -> None:
    column, row = block_of(indexed_slide, 1, 1)
    on_slide.query(0, indexed_slide.grid.rectangle(column, row), "Tumor")
    event = query_event(on_slide)
    place = indexed_slide.place(column, row)
    assert event["on_grid"] == event["covered"] == event["given"] == [place]
    assert event["squares"] == []
    answer(on_slide, lambda ref: "Tumor" if ref % 2 else "Normal")
    on_slide.learn()
    started = next(e.data for e in on_slide.journal.events if e.type == "training_started")
    assert started["n"] == 5  # the query's patch once, and four reviewed ones


def test_a_query_smaller_than_a_patch_becomes_the_square_around_its_centre(
    on_slide: Loop, indexed_slide: IndexedSlide
) -> None:
    column, row = block_of(indexed_slide, 2, 1)
    x, y, side, _ = indexed_slide.grid.rectangle(column, row)
    # Centre 20 px right of the patch's own.
    on_slide.query(0, (x + side / 2 + 10, y + side / 2 - 5, 20, 10), "Tumor")
    event = query_event(on_slide)
    assert event["squares"] == [[x + 20, y, side, side]]
    assert event["on_grid"] == []
    assert event["covered"] == event["given"] == places_of(indexed_slide, [(column, row)])
    assert on_slide.study.n_given("query") == 1


def test_a_small_query_in_the_middle_of_a_patch_is_that_patch(
    on_slide: Loop, indexed_slide: IndexedSlide
) -> None:
    column, row = block_of(indexed_slide, 1, 1)
    x, y, side, _ = indexed_slide.grid.rectangle(column, row)
    on_slide.query(0, (x + side / 2 - 4, y + side / 2 - 4, 8, 8), "Tumor")
    assert query_event(on_slide)["on_grid"] == [indexed_slide.place(column, row)]
    assert query_event(on_slide)["squares"] == []


def test_a_larger_query_is_cut_into_evenly_spaced_squares(
    on_slide: Loop, indexed_slide: IndexedSlide
) -> None:
    column, row = block_of(indexed_slide, 4, 3)
    x, y, side, _ = indexed_slide.grid.rectangle(column, row)
    on_slide.query(0, (x + 30, y + 20, 3 * side, 2 * side), "Tumor")
    event = query_event(on_slide)
    expected = [
        [x + 30 + i * side, y + 20 + j * side, side, side] for j in (0, 1) for i in range(3)
    ]
    assert event["squares"] == expected
    # Shares of the cells along x: 66/96, 1, 1, 30/96; along y: 76/96, 1, 20/96.
    cells = [(column + i, row + j) for j in (0, 1) for i in (0, 1, 2)]
    assert event["covered"] == places_of(indexed_slide, cells)
    assert event["given"] == event["covered"]
    assert len(event["squares_sha256"]) == 64


def test_squares_off_the_grid_train_as_one_sample(
    on_slide: Loop, indexed_slide: IndexedSlide
) -> None:
    column, row = block_of(indexed_slide, 3, 2)
    x, y, side, _ = indexed_slide.grid.rectangle(column, row)
    engine = WatchedEngine()
    weights: list[list[float]] = []
    train = engine.train

    def watch(*arguments: Any) -> Any:
        weights.append(arguments[1].weights().tolist())
        return train(*arguments)

    engine.train = watch  # type: ignore[method-assign]
    on_slide.ground.engine = engine
    on_slide.query(0, (x + 48, y + 10, 2 * side, side), "Tumor")
    assert len(query_event(on_slide)["squares"]) == 2
    n_given = len(query_event(on_slide)["given"])
    answer(on_slide, lambda ref: "Tumor" if ref % 2 else "Normal")
    on_slide.learn()
    assert weights == [[1.0] * (4 + n_given) + [0.5, 0.5]]


def test_of_many_covered_patches_16_are_given_and_all_leave_the_search_set(
    on_slide: Loop, indexed_slide: IndexedSlide
) -> None:
    side = indexed_slide.grid.patch_px0
    on_slide.query(0, (0, 0, 10 * side, 10 * side), "Tumor")
    event = query_event(on_slide)
    cells = [(column, row) for column in range(10) for row in range(10)]
    covered = places_of(indexed_slide, cells)
    assert event["covered"] == covered
    assert len(covered) > 48
    # Spread: one of each sixteenth.
    parts = np.array_split(np.array(covered), 16)
    assert len(event["given"]) == 16
    assert all(place in part for place, part in zip(event["given"], parts, strict=True))
    assert set(covered) <= on_slide.study.gone
    assert on_slide.study.n_given("query") == 16
    assert shown_rounds(on_slide)[0]["n_pool"] == len(indexed_slide.store) - len(covered)
    assert len(event["squares"]) + len(event["on_grid"]) <= 16


def test_a_query_partly_on_glass_keeps_what_is_tissue(
    on_slide: Loop, indexed_slide: IndexedSlide
) -> None:
    kept = kept_cells(indexed_slide)
    row, column = np.argwhere(kept[:, :-1] != kept[:, 1:])[0].tolist()
    side = indexed_slide.grid.patch_px0
    on_slide.query(0, (column * side, row * side, 2 * side, side), "Tumor")
    event = query_event(on_slide)
    cell = (column if kept[row, column] else column + 1, row)
    assert event["on_grid"] == event["covered"] == [indexed_slide.place(*cell)]
    assert event["squares"] == []


def test_a_dropped_patch_as_the_query_is_refused(
    on_slide: Loop, indexed_slide: IndexedSlide
) -> None:
    cell = block_of(indexed_slide, 1, 1, kept=False)
    with pytest.raises(OnGlassError, match="glass only") as caught:
        on_slide.query(0, indexed_slide.grid.rectangle(*cell), "Tumor")
    assert caught.value.code == "on_glass"
    assert types_of(on_slide) == ["study_created"]


def test_a_query_on_white_pixels_off_the_grid_is_refused(
    on_slide: Loop, indexed_slide: IndexedSlide
) -> None:
    column, row = block_of(indexed_slide, 2, 1, kept=False)
    x, y, side, _ = indexed_slide.grid.rectangle(column, row)
    with pytest.raises(OnGlassError):
        on_slide.query(0, (x + side / 2 + 10, y + side / 2 - 5, 20, 10), "Tumor")
    assert types_of(on_slide) == ["study_created"]


def test_a_query_outside_the_slide_is_refused(on_slide: Loop) -> None:
    with pytest.raises(OutsideSlideError) as caught:
        on_slide.query(0, (5000, 5000, 300, 300), "Tumor")
    assert caught.value.code == "outside_slide"
    assert types_of(on_slide) == ["study_created"]


def test_a_query_at_the_edge_is_moved_inside(on_slide: Loop, indexed_slide: IndexedSlide) -> None:
    kept = kept_cells(indexed_slide)
    column = int(np.flatnonzero(kept[0])[0])
    x, _, side, _ = indexed_slide.grid.rectangle(column, 0)
    # The part on the slide has its centre 10 px below the edge.
    on_slide.query(0, (x + side / 2 - 5, -30, 10, 50), "Tumor")
    assert query_event(on_slide)["on_grid"] == [indexed_slide.place(column, 0)]
    assert query_event(on_slide)["squares"] == []
