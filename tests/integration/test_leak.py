"""Nothing of the truth reaches the prediction but the labels that the expert gave.

The truth is permuted over the patches: whoever still scores better than a constant answer on
patches that nobody labelled has seen what it should not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from slideloop.evaluation.simulate import Protocol, Run, play
from slideloop.evaluation.subjects import PatchTruth, Subject
from slideloop.learning.linear import LinearEngine

pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2, 3)
MARGIN = 0.03


def permuted(subject: Subject, seed: int) -> Subject:
    """The subject with its labels dealt out anew among the same patches."""
    truth, store = subject.truths[0], subject.stores[0]
    assert truth.grid_label is not None
    label = np.random.default_rng(seed).permutation(truth.label)
    grid_label = truth.grid_label.copy()
    grid_label[store.cells[:, 1], store.cells[:, 0]] = label
    changed: PatchTruth = replace(truth, label=label, grid_label=grid_label)
    return replace(subject, truths=[changed])


def positives(subject: Subject, run: Run) -> float:
    """Share of the positive class among the patches that count as unreviewed."""
    study = run.loop.study
    unreviewed = np.ones(len(subject.stores[0]), bool)
    unreviewed[list(study.labels)] = False  # of the first slide, references are places
    return float((subject.truths[0].label[unreviewed] == 0).mean())


@pytest.fixture(scope="module", params=["cnfp", "random"])
def excess(request: pytest.FixtureRequest, colon: Subject) -> dict[str, float]:
    """By how much F1 and accuracy are better than the best constant answer's, mean of seeds."""
    rows: dict[str, list[float]] = {"f1": [], "accuracy": []}
    for seed in SEEDS:
        subject = permuted(colon, seed)
        run = play(subject, Protocol(sessions=5), LinearEngine(), request.param, seed)
        last: dict[str, Any] = run.curve[-1]
        share = positives(subject, run)
        # Of the constant answers "positive everywhere" has the best F1, the majority the accuracy.
        rows["f1"].append(last["f1_unreviewed"] - 2 * share / (1 + share))
        rows["accuracy"].append(last["accuracy_unreviewed"] - max(share, 1 - share))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def test_f1_is_no_better_than_a_constant_answer(excess: dict[str, float]):
    assert excess["f1"] <= MARGIN


def test_accuracy_is_no_better_than_a_constant_answer(excess: dict[str, float]):
    assert excess["accuracy"] <= MARGIN


def test_the_same_measure_finds_what_there_is_to_learn(colon: Subject):
    run = play(colon, Protocol(sessions=2), LinearEngine(), "random", 0)
    share = positives(colon, run)
    assert run.curve[-1]["f1_unreviewed"] - 2 * share / (1 + share) > 0.15
