"""Fixtures of the tests that run our Groovy, without QuPath, against the real server."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tests.groovy.driven import Driven
from tests.groovy.jvm import (
    GROOVY_VERSIONS,
    LIB,
    PLAYED_VERSIONS,
    PROGRAMS,
    SLIPS,
    STUBS,
    Groovy,
    LackingError,
    fetch_jars,
    find_java,
)
from tests.groovy.served import Served
from tests.integration.kill_nine import places
from tests.services import quick_settings

from slideloop.evaluation.generated import Scene
from slideloop.studies.service import open_service

CLASSES = ("Tumör Ⅱ", "腫瘍なし")
"""Names as other alphabets have them; the first is what the query shows."""


def lacking(what: object) -> NoReturn:
    """Skip on a user's machine, saying why; fail where everything must be tried (CI=true)."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"The Groovy tests cannot run: {what}")
    pytest.skip(f"Groovy: {what}")


# Groovy ----------------------------------------------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out programs under the versions that our library is only compiled for."""
    out = [item for item in items if _is_compiled_only(item)]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]


def _is_compiled_only(item: pytest.Item) -> bool:
    version = getattr(item, "callspec", None) and item.callspec.params.get("bare_groovy")
    return "groovy" in item.fixturenames and version not in (None, *PLAYED_VERSIONS)


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
    """What the compiler says to the library, type-checked against the stubs, and to programs."""
    others = tmp_path_factory.mktemp(f"groovy-others-{bare_groovy.version}-")
    for style in LIB.rglob("*.css"):
        beside = bare_groovy.classes / style.relative_to(LIB)
        beside.parent.mkdir(exist_ok=True)
        shutil.copyfile(style, beside)
    return bare_groovy.compile(
        ("plain", STUBS, bare_groovy.stubs),
        ("slips", SLIPS, others / "slips"),
        ("typed", LIB, bare_groovy.classes),
        ("plain", PROGRAMS, bare_groovy.classes),
    )


@pytest.fixture(scope="session")
def groovy(bare_groovy: Groovy, compiled: str) -> Groovy:
    """Each version of Groovy, with our library compiled."""
    if compiled:
        pytest.fail("The library does not compile; see test_compiling.")
    return bare_groovy


# Studies to review -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """A server with an indexed slide, and the making of studies on it."""

    served: Served
    root: Path
    """Folder that the server reads."""

    slide: str
    rectangles: list[tuple[int, int, int, int]]
    """Of the size of a patch, on tumour."""

    def study(self, *, rounds: int = 2, k: int = 3, query: bool = True, **settings: Any) -> str:
        """Make a study; with a query, unless told otherwise, and its first round."""
        body = {"strategy": "random", "engine": "linear", "event_id": str(uuid.uuid4())}
        body |= {"name": "Größe 检查", "mode": "classes", "classes": list(CLASSES)}
        body |= {"slides": [self.slide], "rounds": rounds, "k": k, **settings}
        study = self.served.api("POST", "/studies", **body)["id"]
        if query:
            self.query(study)
        return study

    def learnt(self) -> str:
        """Make a study whose only round is labelled, truly, and learnt from."""
        study = self.study(rounds=1, k=10)
        found = self.served.api("GET", f"/studies/{study}/round")
        tumour = {rectangle[:2] for rectangle in self.rectangles}
        for patch in found["patches"]:
            label = CLASSES[0] if (patch["x"], patch["y"]) in tumour else CLASSES[1]
            path = f"/studies/{study}/labels/{patch['id']}"
            self.served.api("PUT", path, label=label, round_id=found["round_id"])
        found = self.served.api("GET", f"/studies/{study}/round?wait=30")
        assert found["state"] == "session_over", found
        return study

    def query(self, study: str, number: int = 0) -> None:
        """Start a session on the tumour and wait for its first round."""
        self.served.api.query(study, self.slide, self.rectangles[number], CLASSES[0])
        found = self.served.api("GET", f"/studies/{study}/round?wait=30")
        assert found["state"] == "labelling", found


@pytest.fixture(scope="session")
def indexed_site(tmp_path_factory: pytest.TempPathFactory, small_slides: Path) -> Iterator[Site]:
    """A server over `small.tif`, indexed once for all."""
    service = open_service(quick_settings(tmp_path_factory.mktemp("groovy-workspace")))
    served = Served(service, small_slides)
    served.start()
    opened = served.api("POST", "/slides", path=str(small_slides / "small.tif"))
    job = served.api("GET", f"/jobs/{opened['job']['id']}?wait=60")
    assert job["state"] == "done", job
    yield Site(served, small_slides, opened["slide"]["id"], places(Scene(0, 1536, 1024))["Tumor"])
    served.stop()
    service.close()


@pytest.fixture
def site(indexed_site: Site) -> Iterator[Site]:
    """The server, running without a token; tests may stop it and start it otherwise."""
    indexed_site.served.start()
    yield indexed_site
    indexed_site.served.start()


# Reviews ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def jvm(groovy: Groovy) -> Iterator[Driven]:
    """A JVM for all tests of a version that do not kill theirs."""
    driven = Driven(groovy)
    yield driven
    driven.close()


@pytest.fixture(scope="session")
def _second_jvms(groovy: Groovy) -> Iterator[Callable[[], Driven]]:
    started: list[Driven] = []

    def second() -> Driven:
        if not started or not started[-1].is_alive:
            started.append(Driven(groovy))
        return started[-1]

    yield second
    for driven in started:
        driven.kill()


@pytest.fixture
def second(_second_jvms: Callable[[], Driven]) -> Driven:
    """Another JVM, connected to nothing, which tests may kill."""
    return _second_jvms()


@pytest.fixture
def review(jvm: Driven, site: Site, tmp_path: Path) -> Iterator[Driven]:
    """A review without a study, its outbox in `tmp_path / "outbox"`, connected to the server."""
    jvm.connect(site.served.url, tmp_path / "outbox")
    yield jvm
    jvm.do("end")
