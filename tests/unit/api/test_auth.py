"""Who may ask."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from werkzeug.datastructures import Headers

from slideloop.api.auth import Gate, read_token, workspace_token
from slideloop.errors import (
    ForbiddenHostError,
    ForbiddenOriginError,
    InvalidInputError,
    OutputError,
    UnauthorizedError,
)

TOKEN = "correct-horse-battery-staple"
HOST = "127.0.0.1:8765"


def _check(gate: Gate, **headers: str) -> None:
    gate.check(Headers({"Host": HOST, **headers}))


@pytest.mark.parametrize(
    "host", [HOST, "localhost:8765", "LocalHost:8765", "[::1]:8765", "127.0.0.2:8765"]
)
def test_loopback_names_with_the_port_pass(host: str) -> None:
    _check(Gate(8765), Host=host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8765",
        "127.0.0.1",
        "localhost:80",
        "localhost:8766",
        "127.0.0.1.evil.example:8765",
        "localhost.evil.example:8765",
        "evil@localhost:8765",
        "localhost:8765, evil.example",
        "localhost:8765/",
        "[::2]:8765",
        "::1:8765",
        "192.168.0.1:8765",
        "0.0.0.0:8765",
        "localhost:08765x",
    ],
)
def test_other_host_names_are_refused(host: str) -> None:
    with pytest.raises(ForbiddenHostError):
        _check(Gate(8765), Host=host)


def test_a_request_without_a_host_is_refused() -> None:
    with pytest.raises(ForbiddenHostError):
        Gate(8765).check(Headers())


def test_the_port_of_http_may_be_left_out() -> None:
    _check(Gate(80), Host="localhost")


@pytest.mark.parametrize("host", ["slides.example", "slides.example:443", "SLIDES.example:8765"])
def test_an_allowed_host_passes_with_any_port(host: str) -> None:
    _check(Gate(8765, allowed_hosts=("slides.example",)), Host=host)


def test_an_allowed_host_with_a_port_passes_with_that_port_only() -> None:
    gate = Gate(8765, allowed_hosts=("slides.example:443",))
    _check(gate, Host="slides.example:443")
    with pytest.raises(ForbiddenHostError):
        _check(gate, Host="slides.example:8765")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.example",
        "http://localhost:8765",
        "http://127.0.0.1",
        "http://127.0.0.1:8766",
        "http://127.0.0.1:8765.evil.example",
        "file://",
        "chrome-extension://abc",
        "http://127.0.0.1:8765 http://evil.example",
    ],
)
def test_an_origin_that_is_not_the_servers_own_is_refused(origin: str) -> None:
    with pytest.raises(ForbiddenOriginError):
        _check(Gate(8765), Origin=origin)


def test_the_servers_own_origin_passes() -> None:
    _check(Gate(8765), Origin=f"http://{HOST}")


def test_the_token_passes() -> None:
    _check(Gate(8765, TOKEN), Authorization=f"Bearer {TOKEN}")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong-horse-battery-staple",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer ä\ud800",
    ],
)
def test_anything_but_the_token_is_refused(authorization: str) -> None:
    with pytest.raises(UnauthorizedError) as refused:
        _check(Gate(8765, TOKEN), Authorization=authorization)
    assert TOKEN not in str(refused.value)


def test_what_needs_no_token_passes_without_but_only_under_a_known_host() -> None:
    gate = Gate(8765, TOKEN)
    gate.check(Headers({"Host": HOST}), needs_token=False)
    with pytest.raises(ForbiddenHostError):
        gate.check(Headers({"Host": "evil.example"}), needs_token=False)


def test_the_workspaces_token_is_made_once(tmp_path: Path) -> None:
    first = workspace_token(tmp_path / "new")
    assert len(first) >= 32
    assert workspace_token(tmp_path / "new") == first
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["token"]


def test_two_workspaces_have_two_tokens(tmp_path: Path) -> None:
    assert workspace_token(tmp_path / "a") != workspace_token(tmp_path / "b")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_the_workspaces_token_is_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        workspace_token(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_a_workspace_that_cannot_hold_a_token_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        workspace_token(tmp_path / "file" / "workspace")


@pytest.mark.parametrize("content", [b"", b"short", b"with a blank in it, and long", b"\xff" * 20])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(InvalidInputError):
        read_token(tmp_path / "token")


def test_a_missing_token_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        read_token(tmp_path / "none")


def test_a_token_file_may_end_its_line(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\r\n")
    assert read_token(tmp_path / "token") == TOKEN
