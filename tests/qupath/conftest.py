"""Fixtures of the tests that run in a real QuPath."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.groovy.conftest import indexed_site, lacking, site
from tests.groovy.jvm import LackingError
from tests.qupath.installed import LIB, installations
from tests.qupath.opened import Desk
from tests.qupath.tested import Run, write

__all__ = ["indexed_site", "site"]

HERE = Path(__file__).parent
RUN = pytest.StashKey[Run]()
"""What became of the tests here, for the record of what was tried."""


def _run(config: pytest.Config) -> Run:
    return config.stash.setdefault(RUN, Run(path.name for path in HERE.glob("test_*.py")))


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    """Note what became of a test; its setup and teardown only where they failed."""
    report: pytest.TestReport = yield
    if report.when == "call" or report.outcome != "passed":
        spec = getattr(item, "callspec", None)
        qupath = spec and spec.params.get("qupath")
        version = qupath.version if qupath else None
        _run(item.config).saw(item.path.name, version, item.name, report.outcome)
    return report


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Note tests of this folder that were left out."""
    ours = [item for item in items if item.path.parent == HERE]
    if ours:
        _run(ours[0].config).left_out(len(ours))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Record a run in which everything passed in each line of QuPath; else say what lacked."""
    run = _run(config)
    if not run.versions:
        return
    if run.objections:
        few = "; ".join(run.objections[:5])
        terminalreporter.line(f"qupath_scripts/TESTED.json is left as it was: {few}")
    else:
        write(LIB.parent, run.versions, datetime.now(UTC).date().isoformat())
        terminalreporter.line("qupath_scripts/TESTED.json is written")
