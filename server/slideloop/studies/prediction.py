"""A slide as a study sees it: the classifier's answer with the given labels on top (section 5).

Owns the merging and the laying on the slide's grid. Knows nothing of engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slideloop.masks.cells import CellMask
from slideloop.studies.study import EXCLUDE, NOT_CLASSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slideloop.slides.grid import Grid
    from slideloop.studies.study import Label, Study


@dataclass(frozen=True)
class Prediction:
    """One slide as the study sees it; all arrays in index order, n patches long.

    Attributes
    ----------
    label : ndarray of int16, shape (n,)
        Class index, -1 for excluded patches.
    probability : ndarray of float64, shape (n,)
        Of that class; 1 where the label was given.
    given : ndarray of bool, shape (n,)
        Whether the label is the expert's.
    """

    label: NDArray[np.int16]
    probability: NDArray[np.float64]
    given: NDArray[np.bool_]


@dataclass(frozen=True)
class SlidePrediction:
    """A prediction with where its patches lie; arrays in index order, n patches long.

    Attributes
    ----------
    slide : str
        Its id.
    width, height : int
        Level-0 pixels.
    mpp : float or None
        um per level-0 pixel.
    grid : Grid
    classes : tuple of str
    complete : bool
        Whether the slide's index is complete.
    model_round : int
        Training that gave it.
    cells : ndarray of int32, shape (n, 2)
        Column and row of each patch.
    label, probability, given : ndarray
        As in `Prediction`.
    """

    slide: str
    width: int
    height: int
    mpp: float | None
    grid: Grid
    classes: tuple[str, ...]
    complete: bool
    model_round: int
    cells: NDArray[np.int32]
    label: NDArray[np.int16]
    probability: NDArray[np.float64]
    given: NDArray[np.bool_]

    def mask(self) -> CellMask:
        """Lay it on the slide's grid; dropped and excluded cells are black."""
        return cell_mask(
            Prediction(self.label, self.probability, self.given),
            self.cells,
            self.grid,
            self.classes,
            (self.width, self.height),
        )


def best_of(
    probability: NDArray[np.float64],
) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Return the most probable class of each patch, and its probability."""
    return probability.argmax(1).astype(np.int16), probability.max(1)


def given_labels(
    study: Study,
    labels: Mapping[int, Label],
    label: NDArray[np.int16],
    probability: NDArray[np.float64],
) -> Prediction:
    """Lay the given labels over a classifier's answer.

    Parameters
    ----------
    study : Study
    labels : mapping of int to Label
        By place in the slide's index order.
    label : ndarray of int16, shape (n,)
    probability : ndarray of float64, shape (n,)
    """
    label, probability = label.copy(), probability.copy()
    given = np.zeros(len(label), bool)
    for place, answer in labels.items():
        if place >= len(label):
            continue
        if answer.name == EXCLUDE:
            label[place], probability[place], given[place] = -1, 1.0, True
        elif answer.name not in NOT_CLASSES:
            label[place] = study.class_idx(answer.name)
            probability[place], given[place] = 1.0, True
    return Prediction(label, probability, given)


def cell_mask(
    prediction: Prediction,
    cells: NDArray[np.int32],
    grid: Grid,
    classes: tuple[str, ...],
    size: tuple[int, int],
) -> CellMask:
    """Lay a prediction on a slide's grid.

    Parameters
    ----------
    prediction : Prediction
    cells : ndarray of int32, shape (n, 2)
        Column and row of each patch.
    grid : Grid
    classes : tuple of str
    size : (int, int)
        Width and height of the slide in level-0 pixels.
    """
    label = np.full((grid.n_rows, grid.n_columns), -1, np.int16)
    probability = np.full(label.shape, np.nan, np.float32)
    column, row = cells[: len(prediction.label)].T
    label[row, column] = prediction.label
    probability[row, column] = prediction.probability
    probability[label < 0] = np.nan
    return CellMask(
        label=label,
        probability=probability,
        classes=classes,
        patch_px0=grid.patch_px0,
        stride_px0=grid.stride_px0,
        width=size[0],
        height=size[1],
    )
