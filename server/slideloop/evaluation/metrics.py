"""Measures of a predicted slide and of held-out tiles (algorithm, section 6).

Owns the arithmetic, on arrays alone. What cannot be measured is None, never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_NEAREST = 10
"""Tiles looked at for P@10 (paper, Fig. 2)."""


def slide_measures(
    truth_label: NDArray[Any],
    predicted_label: NDArray[Any],
    *,
    n_classes: int,
    positive_idx: int,
    scored: NDArray[np.bool_],
    reviewed: NDArray[np.bool_],
    boundary: NDArray[np.bool_],
    cell_positive_share: NDArray[np.float64],
    cell_area_px0: float | NDArray[np.float64],
    annotated_area_px0: float,
) -> dict[str, float | int | None]:
    """Measure one slide, with reviewed patches and without.

    All arrays have one shape, (n_rows, n_columns) or flat.

    Parameters
    ----------
    truth_label : ndarray of int
        Class of each patch, 0 to `n_classes` - 1.
    predicted_label : ndarray of int
        Class in the mask, reviewed patches at their given label; -1 is black.
    n_classes, positive_idx : int
        Number of classes and index of the positive one.
    scored : ndarray of bool
        Kept patches that count: without queries and excluded ones.
    reviewed : ndarray of bool
        Patches that the expert labelled; the others make the `_unreviewed` measures.
    boundary : ndarray of bool
        Patches on the boundary of the positive class, measured apart as well.
    cell_positive_share : ndarray of float64
        Positive share of each cell's square as the mask draws it, dropped cells too.
    cell_area_px0 : float or ndarray of float64
        Area of such a square in level-0 pixels squared.
    annotated_area_px0 : float
        Positive area of the whole slide in level-0 pixels squared.

    Returns
    -------
    dict
        `f1` (positive class), `f1_macro` (mean over the classes that occur), `jaccard` (positive
        class), `iou_mask` (areas; black cells are not positive), `accuracy`, each also with
        `_unreviewed`; `f1_boundary`, `accuracy_boundary` and these with `_unreviewed`; and
        `n_scored`, `n_boundary`, `n_absent_classes` (classes in neither truth nor prediction,
        which are left out of `f1_macro`).
    """
    measures: dict[str, float | int | None] = {}
    area = np.broadcast_to(np.asarray(cell_area_px0, dtype=np.float64), truth_label.shape)
    in_mask = (predicted_label == positive_idx) * area
    for suffix, chosen in (("", None), ("_unreviewed", ~reviewed)):
        counted = scored if chosen is None else scored & chosen
        scores = patch_scores(truth_label[counted], predicted_label[counted], n_classes)
        on_boundary = counted & boundary
        apart = patch_scores(truth_label[on_boundary], predicted_label[on_boundary], n_classes)
        measures |= {
            f"f1{suffix}": scores.f1[positive_idx],
            f"f1_macro{suffix}": mean_of(scores.f1),
            f"jaccard{suffix}": scores.jaccard[positive_idx],
            f"accuracy{suffix}": scores.accuracy,
            f"f1_boundary{suffix}": apart.f1[positive_idx],
            f"accuracy_boundary{suffix}": apart.accuracy,
        }
        left_out = np.zeros_like(reviewed) if chosen is None else reviewed
        measures[f"iou_mask{suffix}"] = _area_iou(
            np.where(left_out, 0.0, in_mask),
            cell_positive_share,
            annotated_area_px0 - float((cell_positive_share * area)[left_out].sum()),
        )
        if chosen is None:
            measures["n_absent_classes"] = scores.f1.count(None)
            measures["n_scored"] = int(counted.sum())
            measures["n_boundary"] = int(on_boundary.sum())
    return measures


@dataclass(frozen=True)
class PatchScores:
    """Scores per class and over all, None where there is nothing to measure.

    Parameters
    ----------
    f1, jaccard : tuple of float or None
        Per class; None for a class in neither truth nor prediction.
    accuracy : float or None
        Share of patches predicted right; None without patches.
    """

    f1: tuple[float | None, ...]
    jaccard: tuple[float | None, ...]
    accuracy: float | None


def patch_scores(
    truth_label: NDArray[Any], predicted_label: NDArray[Any], n_classes: int
) -> PatchScores:
    """Score predictions of patches.

    Parameters
    ----------
    truth_label, predicted_label : ndarray of int, shape (n,)
        Classes 0 to `n_classes` - 1; a prediction of -1 is wrong for every class.
    n_classes : int
        Number of classes.

    Returns
    -------
    PatchScores
        Per class and over all.
    """
    f1: list[float | None] = []
    jaccard: list[float | None] = []
    for class_idx in range(n_classes):
        in_truth, in_prediction = truth_label == class_idx, predicted_label == class_idx
        both = int((in_truth & in_prediction).sum())
        either = int((in_truth | in_prediction).sum())
        f1.append(2 * both / (either + both) if either else None)
        jaccard.append(both / either if either else None)
    accuracy = float((truth_label == predicted_label).mean()) if len(truth_label) else None
    return PatchScores(tuple(f1), tuple(jaccard), accuracy)


def macro_over_slides(
    per_slide: Sequence[Mapping[str, float | int | None]],
) -> dict[str, float | int | None]:
    """Average measures over slides, each slide with the same weight.

    Parameters
    ----------
    per_slide : sequence of mapping
        From `slide_measures`.

    Returns
    -------
    dict
        Means over the slides that have a value, None where none has; counts (`n_...`) are summed.
    """
    names = list(dict.fromkeys(name for measures in per_slide for name in measures))
    averaged: dict[str, float | int | None] = {}
    for name in names:
        values = [measures.get(name) for measures in per_slide]
        if name.startswith("n_"):
            averaged[name] = sum(int(value) for value in values if value is not None)
        else:
            averaged[name] = mean_of(values)
    return averaged


@dataclass(frozen=True)
class PrecisionAt10:
    """How pure the ten nearest neighbours of held-out tiles are (paper, Fig. 2).

    Parameters
    ----------
    perfect_p10, p10 : float or None
        Means over the classes that have one: share of tiles whose ten nearest are all of their
        class, and mean share of the ten nearest that are.
    perfect_per_class, p10_per_class : tuple of float or None
        Per class; None for a class of fewer than 11 tiles.
    """

    perfect_p10: float | None
    p10: float | None
    perfect_per_class: tuple[float | None, ...]
    p10_per_class: tuple[float | None, ...]


def ten_nearest(distance: NDArray[Any]) -> NDArray[np.int64]:
    """Find the ten nearest other tiles of each tile.

    Parameters
    ----------
    distance : ndarray of float, shape (n, n)
        Distances between all tiles, n at least 11; the diagonal is not looked at.

    Returns
    -------
    ndarray of int64, shape (n, 10)
        Nearest first, the lower index first among equals.
    """
    others = np.array(distance, dtype=np.float64)
    np.fill_diagonal(others, np.inf)
    return np.argsort(others, axis=1, kind="stable")[:, :N_NEAREST].astype(np.int64)


def precision_at_10(
    label: NDArray[Any], neighbours: NDArray[np.int64], n_classes: int
) -> PrecisionAt10:
    """Measure P@10 and perfect P@10, macro-averaged over classes.

    Parameters
    ----------
    label : ndarray of int, shape (n,)
        Class of each tile, 0 to `n_classes` - 1.
    neighbours : ndarray of int64, shape (n, 10) or (n, fewer)
        The nearest other tiles of each tile, as `ten_nearest` gives them.
    n_classes : int
        Number of classes.

    Returns
    -------
    PrecisionAt10
        A class of fewer than 11 tiles cannot have ten neighbours of its own: None.
    """
    is_same = label[neighbours] == label[:, None]
    perfect: list[float | None] = []
    plain: list[float | None] = []
    for class_idx in range(n_classes):
        of_class = is_same[label == class_idx]
        if len(of_class) <= N_NEAREST:
            perfect.append(None)
            plain.append(None)
        else:
            perfect.append(float(of_class.all(axis=1).mean()))
            plain.append(float(of_class.mean()))
    return PrecisionAt10(mean_of(perfect), mean_of(plain), tuple(perfect), tuple(plain))


def mean_of(values: Sequence[float | None]) -> float | None:
    """Average the values that there are; None if there are none."""
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None


def interval(values: Sequence[float | None], level: float = 0.95) -> list[float | None]:
    """Give the mean of some runs and its t interval.

    Parameters
    ----------
    values : sequence of float or None
        One value per run; None is left out.
    level : float
        Confidence, between 0 and 1.

    Returns
    -------
    list
        `[mean, low, high]`; without values all None, with a single one no bounds.
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if len(known) == 0:
        return [None, None, None]
    mean = float(known.mean())
    if len(known) == 1:
        return [mean, None, None]
    from scipy.special import stdtrit

    deviation = float(known.std(ddof=1)) / math.sqrt(len(known))
    reach = float(stdtrit(len(known) - 1, (1 + level) / 2)) * deviation
    return [mean, mean - reach, mean + reach]


def _area_iou(
    in_mask_px0: NDArray[np.float64], positive_share: NDArray[np.float64], annotated_px0: float
) -> float | None:
    intersection = float((in_mask_px0 * positive_share).sum())
    union = float(in_mask_px0.sum()) + annotated_px0 - intersection
    return min(1.0, intersection / union) if union > 0 else None
