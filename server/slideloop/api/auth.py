"""Who may ask: the token, the host name, and the web page that a request comes from.

Owns the rules that keep other people and other people's web pages out (interfaces.md, Who may
ask). A page can make a browser send requests here, by this machine's own name or, with a name of
its own that it points here (DNS rebinding), even read the answers; QuPath and curl send no
`Origin`, and pages cannot leave it out of what they could do harm with.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slideloop.errors import (
    ForbiddenHostError,
    ForbiddenOriginError,
    InvalidInputError,
    OutputError,
    UnauthorizedError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from werkzeug.datastructures import Headers

TOKEN_FILE = "token"
HTTP_PORT = 80

_TOKEN = re.compile(r"[\x21-\x7e]{16,512}")
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Gate:
    """What a request must show.

    Parameters
    ----------
    port : int
        That the server listens on.
    token : str or None
        None: no token is asked for.
    allowed_hosts : tuple of str
        Further names that the server goes by, each with a port or without (then with any).
    """

    port: int
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()

    def check(self, headers: Headers, *, needs_token: bool = True) -> None:
        """Let a request pass.

        Parameters
        ----------
        headers : Headers
        needs_token : bool
            False for what everybody may ask.

        Raises
        ------
        ForbiddenHostError, ForbiddenOriginError, UnauthorizedError
        """
        host = headers.get("Host", "").lower()
        if not self._goes_by(host):
            raise ForbiddenHostError(
                f"The server does not go by the name {host[:200]!r}.",
                hint=f"Ask http://127.0.0.1:{self.port}, or start it with --allowed-host.",
            )
        origin = headers.get("Origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            raise ForbiddenOriginError(
                "The request comes from a web page of somebody else.",
                hint="Ask from QuPath, a script, or the server's own pages.",
            )
        if needs_token and self.token is not None:
            self._check_token(headers.get("Authorization", ""))

    def _goes_by(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        if is_loopback(match["name"]) and int(match["port"] or HTTP_PORT) == self.port:
            return True
        allowed = {name.lower() for name in self.allowed_hosts}
        return host in allowed or match["name"] in allowed

    def _check_token(self, authorization: str) -> None:
        scheme, _, given = authorization.partition(" ")
        expected = (self.token or "").encode()
        is_same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), expected)
        if scheme.lower() != "bearer" or not is_same:
            raise UnauthorizedError(
                "The request has no token, or not the server's.",
                hint="Send 'Authorization: Bearer TOKEN' with the token that the server was "
                "started with (by default WORKSPACE/token).",
            )


def is_loopback(name: str) -> bool:
    """Whether a host name or address, IPv6 in brackets or not, is this machine to itself."""
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def read_token(path: Path) -> str:
    """Read a token from a file.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, or what it holds is no token.
    """
    try:
        token = path.read_text("ascii").strip()
    except (OSError, ValueError) as err:
        raise InvalidInputError(
            f"The token file {path} cannot be read.", hint="Name a file with one line of ASCII."
        ) from err
    if not _TOKEN.fullmatch(token):
        raise InvalidInputError(
            f"The token file {path} does not hold 16 to 512 characters without blanks.",
            hint="Make a token with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return token


def workspace_token(workspace: Path) -> str:
    """Return the token of a workspace, made when there is none.

    The file is there whole or not at all, and never readable by others.

    Raises
    ------
    InvalidInputError
        If what is there is no token.
    OutputError
        If none can be made.
    """
    path = workspace / TOKEN_FILE
    if path.exists():
        return read_token(path)
    unfinished = path.with_name(f"{TOKEN_FILE}.{secrets.token_hex(8)}")
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as stream:
                stream.write(secrets.token_urlsafe(32) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as err:
        raise OutputError(
            f"{path} cannot be written: {err.strerror or err}.",
            hint="Choose a workspace that can be written, or name a --token-file.",
        ) from err
    return read_token(path)
