"""A server in a process group of its own, which can be killed whole at any moment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

START_S = 120.0


class ServerGroup:
    """`slideloop serve` on one port through all its restarts.

    Parameters
    ----------
    arguments : sequence
        Of `serve`, beside the port.
    log : Path
        What all the servers say is put there, one behind the other.
    """

    def __init__(self, arguments: Sequence[Any], log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self._arguments = [str(argument) for argument in arguments]
        self._child: subprocess.Popen[bytes] | None = None
        self._seen = 0

    def start(self) -> None:
        """Start a server; it is not ready yet."""
        self._seen = self.log.stat().st_size if self.log.exists() else 0
        command = [sys.executable, "-m", "slideloop.cli.main", "serve", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [*command, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self, timeout_s: float = START_S) -> float:
        """Wait until it listens, and return how long that took, in s."""
        assert self._child is not None
        start = time.monotonic()
        with self.log.open("rb") as log:
            log.seek(self._seen)
            said = b""
            while b"Listening on http" not in said:
                said += _more(log)
                if self._child.poll() is not None:
                    raise AssertionError(f"The server ended: {said.decode(errors='replace')}")
                if time.monotonic() - start > timeout_s:
                    raise AssertionError(f"The server is not ready after {timeout_s:g} s.")
                time.sleep(0.02)
        return time.monotonic() - start

    def kill(self) -> None:
        """Kill the whole group with SIGKILL, as the out-of-memory killer or a power cut do."""
        if self._child is not None:
            with suppress(ProcessLookupError):  # it may have ended by itself
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
            self._child = None

    def stop(self) -> int:
        """Ask it to end as Ctrl-C does, and return its exit code."""
        assert self._child is not None
        self._child.terminate()
        code = self._child.wait(60)
        self._child = None
        return code


def _more(log: IO[bytes]) -> bytes:
    return log.read()
