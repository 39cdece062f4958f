"""Fixtures of the tests that run our Groovy, without QuPath, against the real server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tests.groovy.jvm import (
    GROOVY_VERSIONS,
    LIB,
    STUBS,
    Groovy,
    LackingError,
    fetch_jars,
    find_java,
)


def lacking(what: object) -> NoReturn:
    """Skip on a user's machine, saying why; fail where everything must be tried (CI=true)."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"The Groovy tests cannot run: {what}")
    pytest.skip(f"Groovy: {what}")


@pytest.fixture(scope="session", params=GROOVY_VERSIONS)
def bare_groovy(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Groovy:
    """Each version of Groovy, without our library."""
    try:
        java = find_java()
        jars = fetch_jars(request.param)
    except LackingError as what:
        lacking(what)
    classes = tmp_path_factory.mktemp(f"groovy-{request.param}-")
    return Groovy(request.param, java, jars, classes)


@pytest.fixture(scope="session")
def compiled(bare_groovy: Groovy, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the compiler says to the stubs and then, type-checked against them, to our library."""
    stubs = Path(tmp_path_factory.mktemp(f"stubs-{bare_groovy.version}-"))
    complaints = ""
    if any(STUBS.rglob("*.groovy")):
        complaints = bare_groovy.compile(stubs, "plain", "", STUBS)
    return complaints or bare_groovy.compile(bare_groovy.classes, "typed", str(stubs), LIB)


@pytest.fixture(scope="session")
def groovy(bare_groovy: Groovy, compiled: str) -> Groovy:
    """Each version of Groovy, with our library compiled."""
    if compiled:
        pytest.fail("The library does not compile; see test_compiling.")
    return bare_groovy
