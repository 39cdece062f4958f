"""The short form of `kill_nine`: what was acknowledged survives SIGKILL of the whole group."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.integration.kill_nine import STUDIES, Trial

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="process groups and SIGKILL"),
]

ROUNDS = 3


def test_what_was_acknowledged_survives_kill_nine_and_the_studies_go_on(tmp_path: Path):
    trial = Trial(tmp_path)
    try:
        trial.begin()
        for _ in range(ROUNDS):
            trial.kill_and_look()
        outcome = trial.end()
    finally:
        trial.abandon()
    assert outcome.rounds == ROUNDS
    assert outcome.labels > 10
    assert outcome.trainings >= len(STUDIES)
