"""The fold of events, and what is refused in which state."""

from __future__ import annotations

from typing import Any

import pytest

from slideloop.errors import (
    ClassRefusedError,
    InvalidInputError,
    NotInRoundError,
    QueryNotRelevantError,
    StaleRoundError,
    StudyStateError,
    UnknownPatchError,
)
from slideloop.learning.database import reference
from slideloop.studies.settings import Settings
from slideloop.studies.study import Label, Study

CLASSES = ("Tumor", "Normal")


def settings_of(**more: Any) -> Settings:
    return Settings.checked(**{"classes": CLASSES, "rounds": 2, "k": 2, **more})


def created(**more: Any) -> Study:
    study = Study()
    data = {
        "id": "s",
        "name": "a study",
        "settings": settings_of(**more).as_dict(),
        "slides": [{"id": "a"}, {"id": "b"}],
        "search_slides": [0, 1],
        "reserved": [[7], [8, 9]],
    }
    study.apply("study_created", data)
    return study


def query(study: Study, label: str = "Tumor", session: str = "q1", **more: Any) -> None:
    data = {
        "session": session,
        "slide": 0,
        "rectangle": [0, 0, 10, 10],
        "label": label,
        "on_grid": [3],
        "squares": [[5, 5, 96, 96]],
        "squares_sha256": "",
        "covered": [3, 4],
        "cells": [],
        "given": [4],
    }
    study.apply("query", {**data, **more})


def show(study: Study, number: int = 1, first: int = 20) -> None:
    patches = [
        {"id": f"p{first}", "slide": 0, "place": first},
        {"id": f"p{first + 1}", "slide": 1, "place": first + 1},
    ]
    data = {"round_id": f"r{number}", "session": "q1", "round": number, "patches": patches}
    study.apply("round_shown", data)


def label(study: Study, patch: str, name: str, round_id: str = "r1") -> None:
    study.check_label(patch, name, round_id)
    study.apply("label", {"patch": patch, "label": name, "round_id": round_id})


def labelled_round() -> Study:
    study = created()
    query(study)
    show(study)
    label(study, "p20", "Tumor")
    label(study, "p21", "Normal")
    return study


# Fold ----------------------------------------------------------------------------------------


def test_a_new_study_has_its_settings_and_reserved_patches() -> None:
    study = created(strategy="entropy")
    assert study.state == "new"
    assert study.settings == settings_of(strategy="entropy")
    assert study.gone == {reference(0, 7), reference(1, 8), reference(1, 9)}


def test_a_query_gives_labels_and_takes_what_it_covers_from_the_search_set() -> None:
    study = created()
    query(study)
    assert {reference(0, 3), reference(0, 4)} <= study.gone
    assert set(study.labels) == {reference(0, 4)}
    assert study.labels[reference(0, 4)].source == "query"
    assert study.session.squares_at == ((5, 5, 96, 96),)
    assert study.n_given("query") == 1
    assert study.n_labels() == {"Tumor": 0, "Normal": 0, "unsure": 0, "exclude": 0}


def test_shown_patches_leave_the_search_set() -> None:
    study = created()
    query(study)
    show(study)
    assert study.state == "labelling"
    assert {reference(0, 20), reference(1, 21)} <= study.gone


def test_the_last_label_of_a_round_ends_it() -> None:
    study = created()
    query(study)
    show(study)
    label(study, "p20", "Tumor")
    assert study.state == "labelling"
    label(study, "p21", "Normal")
    assert study.state == "training"
    assert study.session.rounds_done == 1
    assert study.n_labels() == {"Tumor": 1, "Normal": 1, "unsure": 0, "exclude": 0}


def test_the_newest_label_counts_while_the_round_is_open() -> None:
    study = created()
    query(study)
    show(study)
    label(study, "p20", "Tumor")
    label(study, "p20", "Normal")
    assert study.state == "labelling"
    assert study.labels[reference(0, 20)].name == "Normal"
    assert study.n_labels()["Tumor"] == 0


def train(study: Study, model_round: int) -> None:
    study.apply("training_started", {"model_round": model_round})
    finish_training(study, model_round)


def finish_training(study: Study, model_round: int) -> None:
    data = {"model_round": model_round, "digest": "d", "classifier": True, "started": 1}
    study.apply("training_done", data)


def test_after_its_last_round_a_session_is_over() -> None:
    study = labelled_round()
    train(study, 1)
    assert study.state == "training"
    show(study, 2, first=30)
    label(study, "p30", "Tumor", "r2")
    label(study, "p31", "Tumor", "r2")
    assert study.state == "training"
    train(study, 2)
    assert study.state == "session_over"
    assert study.n_trainings == 2


def test_a_last_round_of_unsure_answers_ends_the_session_without_a_training() -> None:
    study = created(rounds=1)
    query(study)
    show(study)
    label(study, "p20", "unsure")
    label(study, "p21", "unsure")
    assert study.state == "session_over"
    assert not study.is_training_wanted


def test_an_exhausted_study_shows_nothing() -> None:
    study = labelled_round()
    study.apply("round_shown", {"session": "q1", "round": 2, "round_id": "r2", "patches": []})
    assert study.state == "exhausted"
    assert study.round is None


def test_a_new_query_closes_the_round_and_keeps_its_labels() -> None:
    study = created()
    query(study)
    show(study)
    label(study, "p20", "Normal")
    query(study, session="q2", on_grid=[5], covered=[5], given=[5])
    assert study.round is None
    assert study.n_labels()["Normal"] == 1
    assert [session.id for session in study.sessions] == ["q1", "q2"]
    with pytest.raises(StaleRoundError):
        study.check_label("p21", "Tumor", "r1")


def test_events_of_unknown_types_change_nothing() -> None:
    study = labelled_round()
    before = vars(study).copy()
    study.apply("exported", {"path": "x"})
    assert vars(study) == before


# Labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["unsure", "exclude"])
def test_unsure_and_exclude_are_reviewed_and_never_train(name: str) -> None:
    study = created()
    query(study, given=[], covered=[3])
    show(study)
    label(study, "p20", name)
    label(study, "p21", "Normal")
    refs, idx = study.trainable()
    assert refs.tolist() == [reference(1, 21)]
    assert idx.tolist() == [1]
    assert study.n_labels()[name] == 1
    assert reference(0, 20) in study.gone


def test_trainable_labels_come_by_reference() -> None:
    study = labelled_round()
    refs, idx = study.trainable()
    assert refs.tolist() == [reference(0, 4), reference(0, 20), reference(1, 21)]
    assert idx.tolist() == [0, 0, 1]


def test_a_round_of_answers_that_do_not_train_asks_for_no_training() -> None:
    study = created()
    query(study)
    show(study)
    label(study, "p20", "unsure")
    label(study, "p21", "exclude")
    assert not study.is_training_wanted
    assert study.is_show_wanted


def test_labels_of_a_round_closed_by_a_query_train_with_the_next_one() -> None:
    study = created()
    query(study)
    show(study)
    label(study, "p20", "Normal")
    query(study, session="q2", on_grid=[5], covered=[5], given=[5])
    show(study, 1, first=30)
    label(study, "p30", "unsure")
    label(study, "p31", "unsure")
    assert study.is_training_wanted


def test_a_training_cut_off_is_wanted_again() -> None:
    study = labelled_round()
    study.apply("training_started", {"model_round": 1})
    assert study.is_training_wanted
    study.apply("training_started", {"model_round": 1})
    finish_training(study, 1)
    assert not study.is_training_wanted


def region(study: Study, places: list[int], name: str = "Normal", **more: Any) -> None:
    data = {
        "slide": 0,
        "label": name,
        "places": places,
        "cells": [],
        "train": places[:1],
        "train_cells": [],
    }
    study.apply("region", {**data, "train_now": False, **more})


def test_a_region_gives_labels_of_which_some_train() -> None:
    study = created()
    region(study, [10, 11])
    assert study.state == "new"
    assert study.n_given("region") == 2
    assert study.trainable()[0].tolist() == [reference(0, 10)]
    assert {reference(0, 10), reference(0, 11)} <= study.gone
    assert study.n_labels()["Normal"] == 0


def test_a_region_trains_on_some_patches_that_are_indexed_later() -> None:
    study = created()
    region(study, [10], cells=[[4, 5], [6, 7]], train_cells=[[6, 7]])
    label = study.unplaced[0, 6, 7]
    assert label is not None and label.trains
    refs, idx = study.trainable({12: label, 13: Label("Normal", "region", None, trains=False)})
    assert (refs.tolist(), idx.tolist()) == ([reference(0, 10), 12], [1, 1])


def test_a_region_labels_the_patches_of_the_open_round_that_it_covers() -> None:
    study = created()
    query(study)
    show(study)
    label(study, "p21", "Tumor")
    assert study.state == "labelling"
    region(study, [20, 50])
    assert study.state == "training"
    assert study.labels[reference(0, 20)].source == "region"


def test_a_region_changes_a_label_of_a_closed_round() -> None:
    study = labelled_round()
    region(study, [20], "Normal")
    assert study.labels[reference(0, 20)].name == "Normal"
    assert study.n_labels()["Tumor"] == 0


def test_a_region_can_ask_for_a_training_while_its_round_stays_open() -> None:
    study = created()
    query(study)
    show(study)
    region(study, [50], train_now=True)
    assert study.is_training_wanted
    assert study.state == "labelling"


def test_a_region_during_a_training_is_trained_by_the_next_one() -> None:
    study = labelled_round()
    study.apply("training_started", {"model_round": 1})
    region(study, [50], train_now=True)
    finish_training(study, 1)
    assert study.is_training_wanted
    train(study, 2)
    assert not study.is_training_wanted


def test_an_added_slide_is_searched_where_all_were() -> None:
    study = created()
    study.apply("slide_added", {"slide": {"id": "c"}})
    assert study.search_slides == [0, 1, 2]
    study.apply("settings", {"search_slides": [2]})
    study.apply("slide_added", {"slide": {"id": "d"}})
    assert study.search_slides == [2]


def test_an_exhausted_study_looks_again_when_a_slide_is_added() -> None:
    study = labelled_round()
    study.apply("round_shown", {"session": "q1", "round": 2, "round_id": "r2", "patches": []})
    study.apply("slide_added", {"slide": {"id": "c"}})
    train(study, 1)
    assert study.is_show_wanted


def test_settings_change_and_classes_are_added_behind() -> None:
    study = created()
    study.apply("settings", {"name": "other", "k": 9, "add_classes": ["Stroma"], "archived": True})
    assert (study.name, study.settings.k, study.archived) == ("other", 9, True)
    assert study.settings.classes == ("Tumor", "Normal", "Stroma")


def second_round(**more: Any) -> Study:
    """Tumor in the first round and in the second, and one given by the query."""
    study = created(**more)
    query(study)
    show(study)
    label(study, "p20", "Tumor")
    label(study, "p21", "Normal")
    train(study, 1)
    show(study, 2, first=30)
    label(study, "p30", "Normal", "r2")
    label(study, "p31", "Tumor", "r2")
    return study


def test_refinement_over_the_study_takes_all_reviewed_patches_of_the_class() -> None:
    study = second_round(refine_over="study")
    assert study.relevant().tolist() == [reference(0, 20), reference(1, 31)]


def test_refinement_over_the_round_takes_those_just_labelled() -> None:
    assert second_round(refine_over="round").relevant().tolist() == [reference(1, 31)]


def test_labels_of_one_slide_come_by_place() -> None:
    study = labelled_round()
    assert {place: label.name for place, label in study.labels_of(0).items()} == {
        4: "Tumor",
        20: "Tumor",
    }
    assert list(study.labels_of(1)) == [21]


# Refusals ------------------------------------------------------------------------------------


def test_a_label_for_another_round_is_stale() -> None:
    study = created()
    query(study)
    show(study)
    with pytest.raises(StaleRoundError, match="r0 is not open") as caught:
        study.check_label("p20", "Tumor", "r0")
    assert caught.value.code == "stale_round"


def test_a_label_for_a_round_that_is_complete_is_stale() -> None:
    with pytest.raises(StaleRoundError):
        labelled_round().check_label("p20", "Normal", "r1")


def test_a_label_before_any_query_is_of_no_patch() -> None:
    with pytest.raises(UnknownPatchError):
        created().check_label("p20", "Tumor", "r1")


def test_a_patch_that_is_not_shown_is_refused() -> None:
    study = created()
    query(study)
    show(study)
    with pytest.raises(UnknownPatchError, match="p99") as caught:
        study.check_label("p99", "Tumor", "r1")
    assert caught.value.code == "unknown_patch"


def test_a_patch_of_another_round_is_refused() -> None:
    study = second_round()
    show(study, 3, first=40)
    with pytest.raises(NotInRoundError, match="p20") as caught:
        study.check_label("p20", "Tumor", "r3")
    assert caught.value.code == "not_in_round"


def test_an_unknown_class_is_refused_with_the_known_ones() -> None:
    study = created()
    query(study)
    show(study)
    with pytest.raises(ClassRefusedError, match="'tumor' is no class") as caught:
        study.check_label("p20", "tumor", "r1")
    assert caught.value.code == "class_refused"
    assert "Tumor, Normal, unsure, exclude" in caught.value.hint


@pytest.mark.parametrize("name", ["Stroma", "unsure", "exclude"])
def test_a_query_of_no_class_is_refused(name: str) -> None:
    with pytest.raises(ClassRefusedError):
        created().check_query(name)


def test_in_relevance_mode_only_what_is_sought_can_query() -> None:
    study = created(mode="relevance")
    study.check_query("Tumor")
    with pytest.raises(QueryNotRelevantError, match="'Normal'") as caught:
        study.check_query("Normal")
    assert caught.value.code == "query_not_relevant"


def test_in_classes_mode_any_class_can_query() -> None:
    created().check_query("Normal")


def test_there_is_no_session_before_the_first_query() -> None:
    with pytest.raises(StudyStateError) as caught:
        _ = created().session
    assert caught.value.code == "no_session"


# Settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"classes": ("Tumor",)}, "at least two"),
        ({"classes": ()}, "at least two"),
        ({"classes": ("Tumor", "")}, "no name"),
        ({"classes": ("Tumor", "  ")}, "no name"),
        ({"classes": ("Tumor", "Tumor")}, "named twice"),
        ({"classes": ("\u00e9", "e\u0301")}, "named twice"),
        ({"classes": ("Tumor", "unsure")}, "answers"),
        ({"classes": ("exclude", "Tumor")}, "answers"),
        ({"classes": ("A", "B", "C"), "mode": "relevance"}, "two classes"),
        ({"classes": ("A", "B"), "positive": "C"}, "'C' is not one"),
        ({"classes": tuple(map(str, range(51)))}, "at most 50"),
    ],
)
def test_classes_that_cannot_be_used_are_refused(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(ClassRefusedError, match=fault):
        Settings.checked(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"k": 0},
        {"rounds": 0},
        {"k": -5},
        {"mode": "pairs"},
        {"session_start": "never"},
        {"refine_over": "session"},
        {"strategy": "best"},
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Settings.checked(classes=CLASSES, **fields)
    assert caught.value.hint


def test_no_classes_at_all_are_refused() -> None:
    with pytest.raises(ClassRefusedError):
        Settings.checked(classes=[])


def test_the_positive_class_is_the_first_unless_told_otherwise() -> None:
    assert settings_of().positive == "Tumor"
    assert settings_of(positive=" Normal ").positive == "Normal"


def test_settings_survive_the_journal() -> None:
    settings = settings_of(strategy="hybrid", seed=2**31, training={"epochs": 2})
    study = created(strategy="hybrid", seed=2**31, training={"epochs": 2})
    assert study.settings == settings
