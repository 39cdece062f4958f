"""The parts of the review window that need no screen: which keys count, which pictures are read."""

from __future__ import annotations

import json
import re

import pytest
from tests.groovy.jvm import PROGRAMS, Groovy

PROGRAM = "window_parts"
CASES = re.findall(r"^    '(.+)': \{$", (PROGRAMS / f"{PROGRAM}.groovy").read_text("utf-8"), re.M)


@pytest.fixture(scope="module")
def faults(groovy: Groovy) -> dict[str, str | None]:
    """What went wrong in each case, None if nothing."""
    child = groovy.start(PROGRAM)
    said, _ = child.communicate(timeout=120)
    lines = [json.loads(line) for line in said.splitlines()]
    return {line["name"]: line["fault"] for line in lines}


@pytest.mark.parametrize("case", CASES)
def test_it_holds_that(case: str, faults: dict[str, str | None]) -> None:
    assert faults[case] is None


def test_no_case_is_left_out(faults: dict[str, str | None]) -> None:
    assert [*faults] == CASES
    assert len(CASES) > 10
