"""A server as the child of a command: started, waited for, and never left running.

Owns the child process. `python -m slideloop.cli.served COMMAND ...` is that child: slideloop
itself, ended when its standard input ends, so that it does not outlive a parent that was killed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from slideloop.errors import SlideloopError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

START_S = 120.0
"""How long a server may take to load its network."""

STOP_S = 15.0
_LISTENING = re.compile(rb"^Listening on (http://\S+?)/?\s*$", re.MULTILINE)


class ServerNotStartedError(SlideloopError):
    """A server that ended, or said nothing, before it was ready."""

    code = "server_not_started"
    http_status = 503


class ServerProcess:
    """`slideloop serve` on a free port, from entering the `with` block to leaving it.

    Parameters
    ----------
    arguments : sequence of str
        Of `serve`, beside the port.
    log : Path
        What the server says goes there; an older file is replaced.
    """

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self._arguments, self.log = list(arguments), log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "slideloop.cli.served", "serve", "--port", "0"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *self._arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Id of the process."""
        assert self._process is not None, "The server was not started."
        return self._process.pid

    def url(self, timeout_s: float = START_S) -> str:
        """Wait until the server is ready, and return its address.

        Raises
        ------
        ServerNotStartedError
            If it ends, or is not ready in time; names the log and gives its last line.
        """
        assert self._process is not None, "The server was not started."
        deadline = time.monotonic() + timeout_s
        while True:
            has_ended = self._process.poll() is not None
            said = self.log.read_bytes()
            if not has_ended and (found := _LISTENING.search(said)):
                return found[1].decode()
            if has_ended:
                raise self._not_started(f"ended with code {self._process.returncode}", said)
            if time.monotonic() > deadline:
                raise self._not_started(f"was not ready within {timeout_s:g} s", said)
            time.sleep(0.05)

    def _not_started(self, what: str, said: bytes) -> ServerNotStartedError:
        lines = said.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
        return ServerNotStartedError(
            f"The server {what}; the last that it said: {last}", hint=f"Its log is {self.log}."
        )

    def stop(self) -> None:
        """Ask the server to end and wait for it; end it by force if it does not."""
        process = self._process
        if process is None:
            return
        try:
            process.terminate()
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        finally:  # a second Ctrl-C does not leave it running either
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdin:
                with suppress(OSError):
                    process.stdin.close()


def _end_with_input() -> None:
    """End this process as Ctrl-C would once nobody holds the other end of its input."""
    with suppress(OSError, ValueError):
        while os.read(sys.stdin.fileno(), 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def _main() -> None:
    from slideloop.cli.main import main

    threading.Thread(target=_end_with_input, name="input", daemon=True).start()
    main()


if __name__ == "__main__":
    _main()
