"""Measures, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slideloop.evaluation.metrics import (
    interval,
    macro_over_slides,
    mean_of,
    patch_scores,
    precision_at_10,
    slide_measures,
    ten_nearest,
)

PAIRS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)


def measures(truth, predicted, **changes):
    """Measure a slide of one row whose patches are wholly of one class."""
    truth, predicted = np.array(truth), np.array(predicted)
    given_values = {
        "n_classes": 2,
        "positive_idx": 0,
        "scored": predicted >= 0,
        "reviewed": np.zeros(len(truth), dtype=bool),
        "boundary": np.zeros(len(truth), dtype=bool),
        "cell_positive_share": (truth == 0).astype(float),
        "cell_area_px0": 100.0,
        "annotated_area_px0": 100.0 * (truth == 0).sum(),
    }
    return slide_measures(truth, predicted, **(given_values | changes))


def test_scores_of_four_patches_worked_out_by_hand():
    # Positive: one found, one missed, one false; the other class: one found.
    found = measures([0, 0, 1, 1], [0, 1, 0, 1])
    assert found["f1"] == 0.5
    assert found["f1_macro"] == 0.5
    assert found["jaccard"] == pytest.approx(1 / 3)
    assert found["iou_mask"] == pytest.approx(1 / 3)
    assert found["accuracy"] == 0.5


@given(PAIRS)
@settings(deadline=None)
def test_f1_and_jaccard_agree_with_scikit_learn(pairs):
    from sklearn.metrics import f1_score, jaccard_score

    truth, predicted = np.array(pairs).T
    scores = patch_scores(truth, predicted, 3)
    occurring = np.union1d(truth, predicted).tolist()
    options = {"average": None, "zero_division": 0.0, "labels": occurring}
    assert [scores.f1[i] for i in occurring] == pytest.approx(
        f1_score(truth, predicted, **options).tolist()
    )
    assert [scores.jaccard[i] for i in occurring] == pytest.approx(
        jaccard_score(truth, predicted, **options).tolist()
    )
    assert mean_of(scores.f1) == pytest.approx(
        f1_score(truth, predicted, average="macro", zero_division=0.0, labels=occurring)
    )


def test_a_class_in_neither_truth_nor_prediction_is_none_and_counted():
    found = measures([0, 0, 1], [0, 0, 0], n_classes=3)
    assert found["n_absent_classes"] == 1
    assert found["f1_macro"] == pytest.approx((0.8 + 0.0) / 2)


def test_a_positive_class_that_is_absent_gives_none():
    found = measures([1, 1], [1, 1])
    assert (found["f1"], found["jaccard"], found["iou_mask"]) == (None, None, None)
    assert found["accuracy"] == 1


def test_reviewed_patches_are_left_out_of_the_unreviewed_measures():
    reviewed = np.array([True, True, False, False])
    found = measures([0, 1, 0, 1], [0, 1, 1, 1], reviewed=reviewed)
    assert found["accuracy"] == 0.75
    assert found["accuracy_unreviewed"] == 0.5
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["f1_unreviewed"] == 0
    assert found["iou_mask"] == 0.5
    assert found["iou_mask_unreviewed"] == 0


def test_all_patches_reviewed_leaves_none():
    found = measures([0, 1], [0, 1], reviewed=np.array([True, True]))
    unreviewed = [v for name, v in found.items() if name.endswith("_unreviewed")]
    assert len(unreviewed) == 7
    assert set(unreviewed) == {None}


def test_patches_that_are_not_scored_count_for_nothing_but_the_area():
    scored = np.array([True, False])
    found = measures([0, 1], [0, 0], scored=scored)
    assert found["accuracy"] == 1
    assert found["n_scored"] == 1
    assert found["iou_mask"] == 0.5


def test_dropped_cells_are_not_positive_but_their_annotated_area_counts():
    found = measures([0, 0], [0, -1])
    assert found["f1"] == 1
    assert found["iou_mask"] == 0.5


def test_the_area_knows_shares_of_cells():
    # Predicted 100, of which 50 annotated; 30 more annotated in the cell predicted negative.
    found = measures(
        [0, 1], [0, 1], cell_positive_share=np.array([0.5, 0.3]), annotated_area_px0=80.0
    )
    assert found["iou_mask"] == pytest.approx(50 / (100 + 80 - 50))


def test_boundary_patches_are_counted_and_measured_apart():
    boundary = np.array([True, False, True, False])
    found = measures([0, 0, 1, 1], [0, 0, 0, 1], boundary=boundary)
    assert found["n_boundary"] == 2
    assert found["accuracy_boundary"] == 0.5
    assert found["f1_boundary"] == pytest.approx(2 / 3)
    assert found["accuracy"] == 0.75


def test_slides_weigh_the_same_in_the_mean_and_none_is_left_out():
    averaged = macro_over_slides(
        [
            {"f1": 0.5, "jaccard": None, "n_boundary": 2},
            {"f1": 1.0, "jaccard": 0.4, "n_boundary": 3},
        ]
    )
    assert averaged == {"f1": 0.75, "jaccard": 0.4, "n_boundary": 5}


def test_a_measure_that_no_slide_has_stays_none():
    assert macro_over_slides([{"f1": None}, {"f1": None}]) == {"f1": None}


def test_the_ten_nearest_leave_out_the_tile_itself_and_break_ties_by_index():
    distance = np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
    assert ten_nearest(distance)[0].tolist() == list(range(1, 11))
    assert ten_nearest(distance)[5].tolist() == [4, 6, 3, 7, 2, 8, 1, 9, 0, 10]


def test_p10_worked_out_by_hand():
    # Eleven tiles at 0 to 10, twelve at 100 to 111; one of the first is moved among the second.
    place = np.concatenate([np.arange(11.0), 100 + np.arange(12.0)])
    label = np.array([0] * 11 + [1] * 12)
    place[0] = 111.5
    found = precision_at_10(label, ten_nearest(np.abs(np.subtract.outer(place, place))), 2)
    # Of the ten left behind each has nine of its own and one stranger; the moved one has none.
    # A tile at x of the second class has the moved one among its ten nearest if two of its own
    # are farther away, x - 101 > 111.5 - x: the five from 107 to 111.
    assert found.perfect_per_class == (0, pytest.approx(7 / 12))
    assert found.p10_per_class == (
        pytest.approx(0.9 * 10 / 11),
        pytest.approx((7 + 5 * 0.9) / 12),
    )
    assert found.perfect_p10 == pytest.approx((0 + 7 / 12) / 2)


def test_two_classes_far_apart_are_perfect():
    place = np.concatenate([np.arange(11.0), 100 + np.arange(11.0)])
    label = np.repeat([0, 1], 11)
    found = precision_at_10(label, ten_nearest(np.abs(np.subtract.outer(place, place))), 2)
    assert (found.perfect_p10, found.p10) == (1, 1)


def test_a_class_of_fewer_than_eleven_tiles_is_none_and_left_out():
    place = np.concatenate([np.arange(11.0), 100 + np.arange(10.0)])
    label = np.array([0] * 11 + [1] * 10)
    found = precision_at_10(label, ten_nearest(np.abs(np.subtract.outer(place, place))), 2)
    assert found.perfect_per_class == (1, None)
    assert found.perfect_p10 == 1


def test_the_t_interval_of_three_values_worked_out_by_hand():
    # Mean 2, standard error 1 / sqrt(3), t of two degrees of freedom 4.302653.
    mean, low, high = interval([1, 2, 3])
    assert mean == 2
    assert low == pytest.approx(2 - 4.302653 / 3**0.5)
    assert high == pytest.approx(2 + 4.302653 / 3**0.5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], [None, None, None]), ([None], [None] * 3), ([0.5], [0.5, None, None])],
)
def test_an_interval_needs_two_values(values, expected):
    assert interval(values) == expected


def test_equal_values_have_an_interval_of_no_width():
    assert interval([0.5, 0.5, None]) == [0.5, 0.5, 0.5]
