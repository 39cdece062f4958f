"""The way to a cluster: what is refused before anything is sent."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import pytest

from slideloop.errors import InvalidInputError
from slideloop.features import cluster
from slideloop.features.cluster import connected


def refusal(address: str) -> str:
    with pytest.raises(InvalidInputError) as caught, connected(address):
        pass
    return str(caught.value)


def test_dask_is_imported_only_when_a_cluster_is_asked_for():
    code = (
        "import sys, slideloop.cli.index, slideloop.features.cluster; "
        "assert not {'dask', 'distributed'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_dask_one_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert refusal("tcp://127.0.0.1:8786") == (
        "--dask needs Dask, which is not installed. pip install 'slideloop[dask]'"
    )


@pytest.mark.parametrize("address", ["", "nowhere", "http://127.0.0.1:8787"])
def test_what_is_no_address_is_refused_at_once(address: str):
    start = time.monotonic()
    assert f"No Dask cluster answers at {address!r}" in refusal(address)
    assert time.monotonic() - start < 6


def test_a_port_where_nobody_listens_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 1.0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        start = time.monotonic()
        said = refusal(f"tcp://127.0.0.1:{free.getsockname()[1]}")
    assert "No Dask cluster answers" in said
    assert "as tcp://HOST:8786" in said
    assert time.monotonic() - start < 8


def test_a_port_that_answers_nothing_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 1.0)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        start = time.monotonic()
        assert "No Dask cluster answers" in refusal(f"tcp://127.0.0.1:{mute.getsockname()[1]}")
    assert time.monotonic() - start < 8
