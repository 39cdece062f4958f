"""Jobs: long work that a request started, to be looked at, waited for and cancelled.

Owns the state of each job, in memory and in the ledger, and its progress. What a job does is a
function; where it was when the server ended, its own files know.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from slideloop.errors import JobCancelledError, SlideloopError, UnknownJobError
from slideloop.studies.journal import new_id

if TYPE_CHECKING:
    from slideloop.studies.ledger import Ledger
    from slideloop.studies.worker import Worker

_log = logging.getLogger(__name__)

KIND = "job"
"""Kind of the ledger's documents."""

UNFINISHED = ("queued", "running")

GO_ON = {
    "index": "Open the slide again with POST /slides: the index goes on where it was.",
    "import": "Import again: images that were written stay, and are left as they are.",
    "predict": "Ask for the predictions again; those of the study's own slides come by themselves.",
}
"""By kind of job, how to go on with one that was cut off."""

_RATE_OVER_S = 30.0
"""Length of the stretch that the rate is measured over."""


@dataclass
class _Job:
    """What is known of one job; all but `_FLEETING` is kept in the ledger."""

    id: str
    kind: str
    key: str
    params: dict[str, Any]
    state: str = "queued"
    progress: float = 0.0
    stage: str = ""
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    rate: float | None = None
    eta_s: float | None = None
    is_cancelled: bool = False
    is_ending: bool = False
    marks: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])


_FLEETING = ("rate", "eta_s", "is_cancelled", "is_ending", "marks")


def _job_of(kept: dict[str, Any]) -> _Job:
    known = {each.name for each in fields(_Job)} - set(_FLEETING)
    return _Job(**{name: value for name, value in kept.items() if name in known})


class Jobs:
    """The jobs of one workspace.

    Those that were under way when the server last ended are `interrupted`, and say how to go on.

    Parameters
    ----------
    ledger : Ledger
    worker : Worker
        Runs them.
    """

    def __init__(self, ledger: Ledger, worker: Worker) -> None:
        # Never held while the ledger is written: a thread within a transaction may ask for a job.
        self._changed = threading.Condition()
        self._ledger, self._worker = ledger, worker
        self._jobs = {id_: _job_of(kept) for id_, kept in ledger.all(KIND).items()}
        self._unfinished: dict[str, str] = {}
        for job in self._jobs.values():
            if job.state in UNFINISHED:
                job.state, job.error = "interrupted", cut_off(job.kind).problem()
                self._save(job)

    def start(
        self,
        kind: str,
        key: str,
        run: Callable[[JobHandle], dict[str, Any]],
        *,
        params: dict[str, Any],
        priority: int,
        worker: Worker | None = None,
    ) -> str:
        """Queue a job and return its id; one of the same key that is unfinished is that job.

        Parameters
        ----------
        kind : str
            Such as index, predict.
        key : str
            What it does: two unfinished jobs never share it.
        run : callable
            Called in the worker's thread; returns the result, JSON-ready.
        params : dict
            What it was started with, kept with it.
        priority : int
            See `worker`.
        worker : Worker, optional
            Another one that runs it.
        """
        with self._changed:
            if key in self._unfinished:
                return self._unfinished[key]
            job = _Job(new_id(), kind, key, params)
            self._jobs[job.id] = job
            self._unfinished[key] = job.id
        try:
            self._save(job)
        except SlideloopError:
            with self._changed:
                del self._jobs[job.id], self._unfinished[key]
            raise
        (worker or self._worker).submit(priority, ("job", job.id), lambda: self._run(job, run))
        return job.id

    def unfinished(self, key: str) -> str | None:
        """Return the id of the unfinished job of a key, or None."""
        with self._changed:
            return self._unfinished.get(key)

    def view(self, id: str) -> dict[str, Any]:
        """Return the wire `job`.

        Raises
        ------
        UnknownJobError
        """
        with self._changed:
            return _view(self._job(id))

    def wait(self, id: str, wait_s: float) -> dict[str, Any]:
        """Return the wire `job`, at once when it is finished, at the latest after `wait_s`.

        Raises
        ------
        UnknownJobError
        """
        end = time.monotonic() + wait_s
        with self._changed:
            job = self._job(id)
            while job.state in UNFINISHED and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)
            return _view(job)

    def cancel(self, id: str) -> dict[str, Any]:
        """Cancel a job: one that waits at once, one that runs at its next step.

        A finished one stays as it is.

        Raises
        ------
        UnknownJobError
        """
        with self._changed:
            job = self._job(id)
            job.is_cancelled = True
            was_queued = job.state == "queued"
        if was_queued:
            self._end(job, "cancelled", error=cancelled(job.kind), expected="queued")
        return self.view(id)

    def all(self) -> list[dict[str, Any]]:
        """Return the wire `job` of all, in the order of their start."""
        with self._changed:
            return [_view(job) for job in self._jobs.values()]

    def _job(self, id: str) -> _Job:
        job = self._jobs.get(id)
        if job is None:
            raise UnknownJobError(f"There is no job {id}.", hint="Start it again.")
        return job

    # In the worker's thread ----------------------------------------------------------------

    def _run(self, job: _Job, run: Callable[[JobHandle], dict[str, Any]]) -> None:
        with self._changed:
            if job.state != "queued" or job.is_ending:
                return
            job.state = "running"
            self._changed.notify_all()
        try:
            self._save(job)
            result = run(JobHandle(job.id, partial(self._report, job)))
        except PostponedError as err:
            self._postpone(job)
            self._worker.submit(err.priority, ("job", job.id), lambda: self._run(job, run))
        except JobCancelledError as err:
            state = "cancelled" if job.is_cancelled else "interrupted"
            self._end(job, state, error=err)
        except SlideloopError as err:
            _log.warning("The job %s (%s) failed: %s", job.id, job.kind, err)
            self._end(job, "failed", error=err)
        except Exception as err:
            _log.exception("The job %s (%s) failed.", job.id, job.kind)
            self._end(job, "failed", error=unforeseen(err))
        else:
            self._end(job, "done", result=result)

    def _postpone(self, job: _Job) -> None:
        with self._changed:
            job.state = "queued"
            job.rate = job.eta_s = None
            job.marks.clear()

    def _end(
        self,
        job: _Job,
        state: str,
        *,
        result: dict[str, Any] | None = None,
        error: SlideloopError | None = None,
        expected: str = "running",
    ) -> None:
        with self._changed:
            if job.state != expected or job.is_ending:
                return
            job.is_ending = True
            ended = replace(
                job,
                state=state,
                result=result,
                error=None if error is None else error.problem(),
                progress=1.0 if state == "done" else job.progress,
            )
        # Nobody is told of an end that a crash could take back.
        try:
            self._save(ended)
        except SlideloopError as err:
            _log.error("The end of the job %s was not kept: %s", job.id, err)
        with self._changed:
            job.state, job.result, job.error = ended.state, ended.result, ended.error
            job.progress, job.rate, job.eta_s = ended.progress, None, None
            self._unfinished.pop(job.key, None)
            self._changed.notify_all()

    def _report(self, job: _Job, done: int, total: int, stage: str) -> None:
        """Take a job's progress; see `JobHandle.report`."""
        now = time.monotonic()
        with self._changed:
            if job.is_cancelled:
                raise cancelled(job.kind)
            if self._worker.closing:
                raise cut_off(job.kind)
            if stage != job.stage:
                job.marks.clear()
            job.stage = stage
            job.progress = min(max(done / total, 0.0), 1.0) if total else 0.0
            job.marks.append((now, done))
            while len(job.marks) > 2 and now - job.marks[1][0] > _RATE_OVER_S:
                del job.marks[0]
            since, before = job.marks[0]
            job.rate = (done - before) / (now - since) if done > before and now > since else None
            job.eta_s = max(total - done, 0) / job.rate if job.rate else None

    def _save(self, job: _Job) -> None:
        # The state is taken within the transaction, so that the newest is the last one written.
        with self._ledger.transaction():
            with self._changed:
                kept = {name: v for name, v in asdict(job).items() if name not in _FLEETING}
            self._ledger.put(KIND, job.id, kept)


class PostponedError(JobCancelledError):
    """Raised by a job that lets others go first: it is run again, and goes on where it was.

    Parameters
    ----------
    priority : int
        What it is queued with.
    """

    def __init__(self, priority: int) -> None:
        super().__init__("It goes on later.")
        self.priority = priority


class JobHandle:
    """What a running job tells of itself.

    Parameters
    ----------
    id : str
        Of the job.
    take : callable
        Takes what is reported.
    """

    def __init__(self, id: str, take: Callable[[int, int, str], None]) -> None:
        self.id, self._take = id, take

    def report(self, done: int, total: int, stage: str) -> None:
        """Say how far the job is, between two of its steps.

        Parameters
        ----------
        done, total : int
            In units of the work; the rate is measured in them.
        stage : str
            What is being done.

        Raises
        ------
        JobCancelledError
            If the job was cancelled, or the server ends.
        """
        self._take(done, total, stage)


def cancelled(kind: str) -> JobCancelledError:
    """Return the error that says that somebody cancelled a job."""
    return JobCancelledError("It was cancelled.", hint=GO_ON.get(kind, "Start it again."))


def cut_off(kind: str) -> JobCancelledError:
    """Return the error that says that the server ended before a job did."""
    return JobCancelledError(
        "The server ended before it was done.", hint=GO_ON.get(kind, "Start it again.")
    )


def unforeseen(err: Exception) -> SlideloopError:
    """Return the error that stands for a fault of our own."""
    return SlideloopError.of_status(
        HTTPStatus.INTERNAL_SERVER_ERROR.value,
        "internal",
        f"The server met a fault of its own ({type(err).__name__}).",
        "Look for it in the server's log, and report it.",
    )


def _view(job: _Job) -> dict[str, Any]:
    names = ("id", "kind", "state", "progress", "stage", "rate", "eta_s", "result", "error")
    return {name: getattr(job, name) for name in names}
