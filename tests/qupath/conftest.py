"""Fixtures of the tests that run in a real QuPath."""

from __future__ import annotations

from typing import Any

import pytest
from tests.groovy.conftest import indexed_site, site
from tests.qupath.installed import installations

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
