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
)
from slideloop.learning.database import reference
from slideloop.studies.study import Settings, Study

CLASSES = ("Tumor", "Normal")


def settings_of(**more: Any) -> Settings:
    return Settings.checked(**{"classes": CLASSES, "rounds": 2, "k": 2, **more})


def created(**more: Any) -> Study:
    study = Study()
    data = {
        "id": "s",
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
    assert study.n_query_labels() == 1
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


@pytest.mark.parametrize("event", ["training_done", "training_skipped"])
def test_after_its_last_round_a_session_is_over(event: str) -> None:
    study = labelled_round()
    study.apply(event, {"model_round": 1})
    assert study.state == "training"
    show(study, 2, first=30)
    label(study, "p30", "Tumor", "r2")
    label(study, "p31", "Tumor", "r2")
    study.apply(event, {"model_round": 2})
    assert study.state == "session_over"
    assert study.n_trainings == (2 if event == "training_done" else 0)


def test_an_exhausted_study_shows_nothing() -> None:
    study = labelled_round()
    study.apply("exhausted", {"session": "q1", "round": 2})
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
    study.apply("prediction", {})
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


def test_a_round_of_answers_that_do_not_train_is_known() -> None:
    study = created()
    query(study)
    show(study)
    label(study, "p20", "unsure")
    assert not study.has_trainable_answer()
    label(study, "p21", "Normal")
    assert study.has_trainable_answer()


def second_round(**more: Any) -> Study:
    """Tumor in the first round and in the second, and one given by the query."""
    study = created(**more)
    query(study)
    show(study)
    label(study, "p20", "Tumor")
    label(study, "p21", "Normal")
    study.apply("training_done", {"model_round": 1})
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


def test_a_label_before_any_query_is_stale() -> None:
    with pytest.raises(StaleRoundError):
        created().check_label("p20", "Tumor", "r1")


def test_a_patch_that_is_not_shown_is_refused() -> None:
    study = created()
    query(study)
    show(study)
    with pytest.raises(NotInRoundError, match="p99") as caught:
        study.check_label("p99", "Tumor", "r1")
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
