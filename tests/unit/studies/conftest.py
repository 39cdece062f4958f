"""Fixtures of the tests of studies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slideloop.studies.worker import Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()
