"""Fixtures of the tests that run in a real QuPath."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.groovy.conftest import indexed_site, lacking, site
from tests.groovy.jvm import LackingError
from tests.qupath.installed import installations
from tests.qupath.opened import Desk

__all__ = ["indexed_site", "site"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have each test that asks for a QuPath run in every one that is here."""
    if "qupath" in metafunc.fixturenames:
        found: list[Any] = list(installations())
        lacking = pytest.mark.skip(reason="PAQUO_QUPATH_DIR names no QuPath")
        given = found or [pytest.param(None, marks=lacking)]
        ids = [each.version for each in found] or ["none"]
        metafunc.parametrize("qupath", given, ids=ids, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all of them."""
    for item in items:
        if "qupath" in getattr(item, "fixturenames", ()):
            item.add_marker("qupath")


@pytest.fixture(scope="session")
def desk() -> Iterator[Desk]:
    """A screen for QuPath's windows, one after the other."""
    try:
        desk = Desk()
    except LackingError as what:
        lacking(what)
    yield desk
    desk.close()
