"""Slides on a Dask cluster: one task each.

Owns the connection, the task as Dask calls it, its progress and its end. Where tasks run, and that
a dead worker's go to another one, is Dask's; it is imported only when a cluster is asked for.
Knows nothing of the terminal.
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import time
import uuid
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slideloop import __version__
from slideloop.errors import (
    ClusterError,
    InvalidInputError,
    JobCancelledError,
    OutputError,
    SlideloopError,
)
from slideloop.features.slide_task import carry_out, other_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from distributed import Client, Future

    from slideloop.features.slide_task import Indexed, SlideTask

CONNECT_S = 8.0
"""How long a cluster may take to answer."""

_TELL_EVERY_S = 1.0

_ADDRESS = "Give the address that the cluster's scheduler states, as tcp://HOST:8786."


@dataclass(frozen=True)
class News:
    """What became known of one slide.

    Attributes
    ----------
    slide : int
        Place of its task in the list.
    n_visited : int
        Grid patches looked at so far.
    outcome : Indexed or SlideloopError or None
        None while it goes on.
    """

    slide: int
    n_visited: int
    outcome: Indexed | SlideloopError | None = None


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Connect to an existing cluster; all that was sent is cancelled at the end.

    Raises
    ------
    InvalidInputError
        If Dask is not installed, no cluster answers, or a worker has another slideloop.
    """
    try:
        from distributed import Client
    except ImportError as err:
        raise InvalidInputError(
            "--dask needs Dask, which is not installed.", hint="pip install 'slideloop[dask]'"
        ) from err
    # A client that finds nobody goes on trying long after its time is up.
    try:
        found = asyncio.run(asyncio.wait_for(_role(address), CONNECT_S + 1))
    except (OSError, ValueError) as err:
        raise InvalidInputError(
            f"No Dask cluster answers at {address!r} ({str(err) or 'no answer'}).", hint=_ADDRESS
        ) from err
    if found != "Scheduler":
        raise InvalidInputError(f"At {address} is a {found}, not a scheduler.", hint=_ADDRESS)
    with Client(address, timeout=CONNECT_S, set_as_default=False) as client:
        _require_same_version(client)
        yield client


async def _role(address: str) -> str:
    """Ask a part of a cluster what it is."""
    from distributed import Security
    from distributed.comm.core import connect

    arguments = Security().get_connection_args("client")
    comm: Any = await connect(address, timeout=CONNECT_S, **arguments)
    try:
        await comm.write({"op": "identity"})
        return (await comm.read())["type"]
    finally:
        comm.abort()


def _require_same_version(client: Client) -> None:
    # A function within a function travels as its code, so that it runs whatever is installed.
    def installed() -> str | None:
        try:
            import slideloop
        except ImportError:
            return None
        return slideloop.__version__

    versions: Any = client.run(installed)
    for worker, version in sorted(versions.items()):
        if version != __version__:
            raise other_version(__version__, version, f"The worker at {worker}")


def indexed_on(client: Client, tasks: Sequence[SlideTask]) -> Iterator[News]:
    """Send slides to a cluster and tell what becomes of them.

    Parameters
    ----------
    client : Client
    tasks : sequence of SlideTask
        Of one workspace.

    Yields
    ------
    News
        As it comes; of each slide one with an outcome.
    """
    run = f"slideloop-{uuid.uuid4().hex}"
    news: queue.SimpleQueue[News | tuple[int, Future]] = queue.SimpleQueue()
    client.subscribe_topic(run, lambda event: news.put(_progress_of(event[1])))
    mark = _mark(tasks[0].workspace, run)
    mark.touch()
    futures = []
    try:
        for i, task in enumerate(tasks):
            futures.append(client.submit(_work, task, i, run, key=f"{run}-{i}", pure=False))
            futures[-1].add_done_callback(lambda future, i=i: news.put((i, future)))
        n_open = len(futures)
        while n_open:
            # With a time limit, since an endless wait cannot be interrupted on Windows.
            with suppress(queue.Empty):
                item = news.get(timeout=1.0)
                if isinstance(item, tuple):
                    n_open -= 1
                    item = _end_of(*item, tasks[item[0]])
                yield item
    finally:
        client.cancel(futures)
        mark.unlink(missing_ok=True)


def _progress_of(told: dict[str, int]) -> News:
    return News(told["slide"], told["n_visited"])


def _end_of(slide: int, future: Future, task: SlideTask) -> News:
    """Return what a task gave, or why it gave nothing, as an error of ours."""
    from distributed import KilledWorker

    try:
        return News(slide, task.grid.n_cells, future.result())
    except SlideloopError as err:
        return News(slide, 0, err)
    except KilledWorker as err:
        error = ClusterError(
            f"The workers that indexed {task.path.name} died, {err.allowed_failures + 1} in a "
            f"row; the last one was at {err.last_worker.address}.",
            hint="See that worker's log; it may lack memory. What was done is kept.",
        )
    except CancelledError:
        error = ClusterError(
            f"The cluster's scheduler was lost while {task.path.name} was waited for.",
            hint="Start it again and give the same command: it goes on where it stopped.",
        )
    except Exception as err:  # whatever a foreign machine may stumble over
        first_line = f"{type(err).__name__}: {err}".splitlines()[0]
        error = ClusterError(
            f"{task.path.name} was not indexed on the cluster ({first_line}).",
            hint="See the workers' logs. What was done is kept.",
        )
    return News(slide, 0, error)


def _work(task: SlideTask, slide: int, run: str) -> Indexed:
    """Carry out a task on a worker of a cluster (what Dask calls)."""
    from distributed import Reschedule, Status, get_worker

    worker = get_worker()
    key = worker.get_current_task()
    last = 0.0

    def tell(n_visited: int) -> None:
        nonlocal last
        state = worker.state.tasks.get(key)
        # Nobody else stops a thread: not when the worker ends or has lost its scheduler, and not
        # when the client has gone.
        if worker.status in (Status.closing, Status.closed):
            raise Reschedule
        if state is None or state.state != "executing":
            raise JobCancelledError(f"{task.path.name} is not wanted any more.")
        if n_visited and time.monotonic() - last >= _TELL_EVERY_S:
            last = time.monotonic()
            worker.log_event(run, {"slide": slide, "n_visited": n_visited, "pid": os.getpid()})

    if not _mark(task.workspace, run).exists():
        raise OutputError(
            f"On {socket.gethostname()}: {task.workspace} is not the workspace of the client.",
            hint="Give one with --workspace DIR that lies under the same path on all machines.",
        )
    return carry_out(task, tell)


def _mark(workspace: Path, run: str) -> Path:
    """Return the file by which a worker knows the client's workspace."""
    return workspace / f".{run}"
