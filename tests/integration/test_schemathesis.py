"""The short form of `fuzz_api`: the server does what its description says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.integration.fuzz_api import PHASES, fuzz

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="process groups"),
]


def test_every_answer_is_as_the_published_description_says(tmp_path: Path):
    found = fuzz(tmp_path, 4, 0)
    assert found.code == 0, found.said
    assert not [status for status in found.statuses if status >= 500]
    assert set(PHASES[1:]) <= found.n_cases.keys()
    assert "Traceback" not in found.log
