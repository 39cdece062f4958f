"""`slideloop serve`: the server."""

from __future__ import annotations

import logging
import signal
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from slideloop.cli.common import common_options, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slideloop.api.app import ServeOptions
    from slideloop.api.paths import Roots
    from slideloop.settings import Settings

_folder = click.Path(path_type=Path, file_okay=False)


@click.command("serve")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="0: a free one, which is said.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; any but this machine's own needs a token.",
)
@click.option(
    "--slides-root",
    "slides_roots",
    type=_folder,
    multiple=True,
    metavar="DIR",
    help="Folder that clients may name slides in; repeatable. Without any: the current, "
    "and on this machine those that are allowed from QuPath.",
)
@click.option(
    "--projects-root",
    "projects_roots",
    type=_folder,
    multiple=True,
    metavar="DIR",
    help="Folder that clients may name QuPath projects in; repeatable.",
)
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="CLIENT=SERVER",
    help="A folder as clients call it, and as this machine does; repeatable.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Ask for the token in FILE.",
)
@click.option(
    "--require-token",
    is_flag=True,
    help="Ask for a token on this machine too; without a file: WORKSPACE/token.",
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="HOST",
    help="A further name that clients call the server by; repeatable.",
)
@common_options
def command(
    settings: Settings,
    host: str,
    port: int,
    slides_roots: tuple[Path, ...],
    projects_roots: tuple[Path, ...],
    maps: tuple[str, ...],
    token_file: Path | None,
    require_token: bool,
    allowed_hosts: tuple[str, ...],
) -> None:  # fmt: skip
    """Serve QuPath and other clients, until Ctrl-C."""
    from slideloop.api.allowed import AllowedFolders
    from slideloop.api.app import ServeOptions, create_app
    from slideloop.api.auth import is_loopback, read_token
    from slideloop.api.paths import Roots, read_mapping
    from slideloop.api.serving import bind, front, run
    from slideloop.studies.service import open_service

    token_file = _token_file(host, settings.workspace, token_file, require_token)
    token = None if token_file is None else read_token(token_file)
    folders = (*slides_roots, *projects_roots)
    roots = Roots(folders, [read_mapping(text) for text in maps])
    with _as_a_server(), closing(bind(host, port)) as taken:
        address, port = taken.getsockname()[:2]
        with closing(open_service(settings)) as service:
            may_add = not folders and is_loopback(host)
            options = ServeOptions(
                port=port,
                roots=roots,
                token=token,
                allowed_hosts=(*allowed_hosts, *_own_names(host)),
                allowed=AllowedFolders(roots, settings.workspace) if may_add else None,
            )
            server = front(create_app(service, options), taken)
            with suppress(KeyboardInterrupt):
                _say_what_is_served(service, options, is_chosen=bool(folders))
                if token_file is not None:
                    say(f"Clients need the token in {token_file}.")
                _say_where(host, address, port, options)
                run(server)
            say("Stopping.")
    say("Stopped; everything that was answered is kept.")


@contextmanager
def _as_a_server() -> Iterator[None]:
    """Log a line per request on stderr, and let SIGTERM end the server as Ctrl-C does."""
    from slideloop.api.serving import OneLine

    log, handlers = logging.getLogger("slideloop"), logging.getLogger().handlers
    before = signal.signal(signal.SIGTERM, _end), log.level, [each.formatter for each in handlers]
    log.setLevel(logging.INFO)
    for handler in handlers:
        handler.setFormatter(OneLine())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before[0])
        log.setLevel(before[1])
        for handler, formatter in zip(handlers, before[2], strict=False):
            handler.setFormatter(formatter)


def _end(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def _token_file(host: str, workspace: Path, file: Path | None, is_required: bool) -> Path | None:
    """Return the file with the token to ask for, made if need be; None where none is needed."""
    from slideloop.api.auth import TOKEN_FILE, is_loopback, workspace_token

    if file is None and (is_required or not is_loopback(host)):
        workspace_token(workspace)
        return workspace / TOKEN_FILE
    return file


def _own_names(host: str) -> tuple[str, ...]:
    """Return the address listened on as a name that the server goes by, where it is one."""
    if _is_wildcard(host):
        return ()
    return (f"[{host}]" if ":" in host else host,)


def _is_wildcard(host: str) -> bool:
    return host in ("", "0.0.0.0", "::")


def _say_what_is_served(service: Any, options: ServeOptions, *, is_chosen: bool) -> None:
    weights = service.encoder.weights
    if weights.kind == "random":
        say("WARNING: random weights. Features mean little; results are for trying things only.")
    say(f"Workspace: {service.settings.workspace}. Weights: {weights}.")
    _say_roots(options.roots, is_chosen=is_chosen)


def _say_roots(roots: Roots, *, is_chosen: bool) -> None:
    named = ", ".join(map(str, roots.folders))
    why = "" if is_chosen else " (the current folder, and those allowed from QuPath)"
    say(f"Clients may name files below: {named}{why}.")


def _say_where(host: str, address: str, port: int, options: ServeOptions) -> None:
    if _is_wildcard(host):
        say("It listens on all addresses of this machine.")
        if not options.allowed_hosts:
            say(
                "Only clients on this machine are let in: name the others' way with --allowed-host."
            )
        address = "::1" if ":" in address else "127.0.0.1"
    say(f"Listening on http://{f'[{address}]' if ':' in address else address}:{port}")
