"""Jobs: their states, their progress, cancelling, and what a restart makes of them."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slideloop.errors import InvalidInputError, OutputError, UnknownJobError
from slideloop.studies.jobs import JobHandle, Jobs
from slideloop.studies.ledger import Ledger, open_ledger
from slideloop.studies.worker import INDEX, PREDICT, SHOW, Worker

LONG_S = 20.0
FIELDS = {"id", "kind", "state", "progress", "stage", "rate", "eta_s", "result", "error"}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = open_ledger(tmp_path)
    yield ledger
    ledger.close()


@pytest.fixture
def jobs(ledger: Ledger, worker: Worker) -> Jobs:
    return Jobs(ledger, worker)


class Steps:
    """A job of many steps, each of which waits to be let through."""

    def __init__(self, total: int = 1000) -> None:
        self.total = total
        self.n = 0
        self.running = threading.Event()
        self._turn = threading.Semaphore(0)
        self._done = threading.Semaphore(0)

    def __call__(self, handle: JobHandle) -> dict[str, Any]:
        handle.report(0, self.total, "walking")
        self.running.set()
        for n in range(1, self.total + 1):
            self.n = n
            self._turn.acquire()
            handle.report(self.n, self.total, "walking")
            self._done.release()
        return {"n": self.n}

    def step(self) -> None:
        self._turn.release()
        assert self._done.acquire(timeout=LONG_S)

    def go(self) -> None:
        """Let it take steps until it ends."""
        self._turn.release(self.total)


def start(jobs: Jobs, run: Callable[[JobHandle], dict[str, Any]], key: str = "key") -> str:
    return jobs.start("index", key, run, params={"slide": "s"}, priority=INDEX)


def test_a_job_ends_with_its_result(jobs: Jobs) -> None:
    job = start(jobs, lambda _: {"n_patches": 3})
    view = jobs.wait(job, LONG_S)
    assert view == {
        "id": job,
        "kind": "index",
        "state": "done",
        "progress": 1.0,
        "stage": "",
        "rate": None,
        "eta_s": None,
        "result": {"n_patches": 3},
        "error": None,
    }


def test_a_job_waits_in_the_queue_then_runs_then_is_done(jobs: Jobs, worker: Worker) -> None:
    first, second = Steps(1), Steps(1)
    one = start(jobs, first, "one")
    two = start(jobs, second, "two")
    assert first.running.wait(LONG_S)
    assert [jobs.view(job)["state"] for job in (one, two)] == ["running", "queued"]
    first.go()
    assert jobs.wait(one, LONG_S)["state"] == "done"
    second.go()
    assert jobs.wait(two, LONG_S)["state"] == "done"


def test_progress_rate_and_rest_are_those_of_the_work(jobs: Jobs) -> None:
    steps = Steps(10)
    job = start(jobs, steps)
    assert steps.running.wait(LONG_S)
    assert (jobs.view(job)["progress"], jobs.view(job)["rate"]) == (0.0, None)
    begin = time.monotonic()
    for _ in range(4):
        time.sleep(0.03)
        steps.step()
    passed = time.monotonic() - begin
    view = jobs.view(job)
    assert view["progress"] == 0.4
    assert view["stage"] == "walking"
    assert 4 / passed * 0.9 < view["rate"] < 4 / 0.11
    assert view["eta_s"] == pytest.approx(6 / view["rate"])
    steps.go()
    assert jobs.wait(job, LONG_S)["progress"] == 1.0


def test_what_an_earlier_run_did_is_not_counted_in_the_rate(jobs: Jobs) -> None:
    seen: list[dict[str, Any]] = []

    def run(handle: JobHandle) -> dict[str, Any]:
        handle.report(5000, 10000, "going on")
        time.sleep(0.05)
        handle.report(5001, 10000, "going on")
        seen.append(jobs.view(handle.id))
        return {}

    jobs.wait(start(jobs, run), LONG_S)
    assert seen[0]["progress"] == 0.5001
    assert 0 < seen[0]["rate"] <= 20


def test_the_same_key_is_the_same_job_while_it_is_unfinished(jobs: Jobs) -> None:
    steps = Steps(1)
    ids = [start(jobs, steps) for _ in range(3)]
    assert len(set(ids)) == 1
    assert start(jobs, lambda _: {}, "another") not in ids
    steps.go()
    jobs.wait(ids[0], LONG_S)
    assert start(jobs, lambda _: {}) not in ids


def test_many_threads_that_start_one_key_start_one_job(jobs: Jobs) -> None:
    steps, ids = Steps(1), []
    ran: list[int] = []

    def run(handle: JobHandle) -> dict[str, Any]:
        ran.append(1)
        return steps(handle)

    threads = [threading.Thread(target=lambda: ids.append(start(jobs, run))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    steps.go()
    assert jobs.wait(ids[0], LONG_S)["state"] == "done"
    assert (len(set(ids)), len(ids), ran) == (1, 8, [1])


def test_a_named_error_is_the_jobs_problem(jobs: Jobs) -> None:
    def run(_: JobHandle) -> dict[str, Any]:
        raise InvalidInputError("It makes no sense.", hint="Give sense.")

    view = jobs.wait(start(jobs, run), LONG_S)
    assert view["state"] == "failed"
    assert view["error"] == {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "code": "invalid",
        "detail": "It makes no sense.",
        "hint": "Give sense.",
        "retry": False,
        "request_id": None,
    }


def test_a_fault_of_our_own_is_logged_and_told_without_its_words(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    def run(_: JobHandle) -> dict[str, Any]:
        raise KeyError("a secret of the inside")

    with caplog.at_level(logging.ERROR):
        view = jobs.wait(start(jobs, run), LONG_S)
    assert (view["state"], view["error"]["status"]) == ("failed", 500)
    assert view["error"]["code"] == "internal"
    assert "secret" not in json.dumps(view)
    assert "a secret of the inside" in caplog.text


def test_a_queued_job_is_cancelled_at_once_and_never_runs(jobs: Jobs) -> None:
    steps, ran = Steps(1), []
    start(jobs, steps, "first")
    job = start(jobs, lambda _: ran.append(1) or {}, "second")
    view = jobs.cancel(job)
    assert (view["state"], view["error"]["code"]) == ("cancelled", "cancelled")
    again = start(jobs, lambda _: {}, "second")
    assert again != job
    steps.go()
    assert jobs.wait(again, LONG_S)["state"] == "done"
    assert ran == []


def test_a_running_job_is_cancelled_at_its_next_step(jobs: Jobs) -> None:
    steps = Steps()
    job = start(jobs, steps)
    assert steps.running.wait(LONG_S)
    for _ in range(3):
        steps.step()
    assert jobs.cancel(job)["state"] == "running"
    steps.go()
    view = jobs.wait(job, LONG_S)
    assert view["state"] == "cancelled"
    assert "POST /slides" in view["error"]["hint"]
    assert steps.n == 4
    assert view["progress"] == 0.003


def test_a_finished_job_cannot_be_cancelled(jobs: Jobs) -> None:
    job = start(jobs, lambda _: {"n": 1})
    done = jobs.wait(job, LONG_S)
    assert jobs.cancel(job) == done


def test_waiting_ends_in_time_when_the_job_does_not(jobs: Jobs) -> None:
    steps = Steps(1)
    job = start(jobs, steps)
    begin = time.monotonic()
    assert jobs.wait(job, 0.2)["state"] in ("queued", "running")
    assert 0.15 < time.monotonic() - begin < LONG_S / 2
    steps.go()


def test_waiting_for_nothing_is_asking(jobs: Jobs) -> None:
    steps = Steps(1)
    job = start(jobs, steps)
    assert jobs.wait(job, 0)["state"] in ("queued", "running")
    steps.go()


@pytest.mark.parametrize("ask", ["view", "cancel"])
def test_an_unknown_job_is_said_to_be_unknown(jobs: Jobs, ask: str) -> None:
    with pytest.raises(UnknownJobError, match="nope"):
        getattr(jobs, ask)("nope")
    with pytest.raises(UnknownJobError):
        jobs.wait("nope", 5)


def test_jobs_are_listed_in_the_order_of_their_start(jobs: Jobs) -> None:
    ids = [start(jobs, lambda _: {}, f"{n}") for n in range(4)]
    jobs.wait(ids[-1], LONG_S)
    listed = jobs.all()
    assert [view["id"] for view in listed] == ids
    assert all(view.keys() == FIELDS for view in listed)


# Restart -------------------------------------------------------------------------------------


def after_restart(ledger: Ledger) -> Jobs:
    worker = Worker()
    worker.close()
    return Jobs(ledger, worker)


def test_finished_jobs_are_there_after_a_restart(jobs: Jobs, ledger: Ledger) -> None:
    def fail(_: JobHandle) -> dict[str, Any]:
        raise InvalidInputError("No.")

    ids = [start(jobs, lambda _: {"n": 1}, "a"), start(jobs, fail, "b")]
    before = [jobs.wait(job, LONG_S) for job in ids]
    assert after_restart(ledger).all() == before


def test_the_end_of_the_server_interrupts_and_says_how_to_go_on(
    jobs: Jobs, ledger: Ledger, worker: Worker
) -> None:
    steps = Steps()
    ids = [start(jobs, steps, "running")]
    assert steps.running.wait(LONG_S)
    ids += [jobs.start("predict", "queued", lambda _: {}, params={}, priority=PREDICT)]
    steps.step()
    closing = threading.Thread(target=worker.close)
    closing.start()
    while not worker.closing:
        time.sleep(0.001)
    steps.go()
    closing.join(LONG_S)
    assert jobs.view(ids[0])["state"] == "interrupted"
    views = [after_restart(ledger).view(job) for job in ids]
    assert [view["state"] for view in views] == ["interrupted", "interrupted"]
    assert "goes on where it was" in views[0]["error"]["hint"]
    assert "predictions again" in views[1]["error"]["hint"]


def test_a_job_that_was_cut_off_by_force_is_interrupted_and_its_key_is_free(
    ledger: Ledger, jobs: Jobs, worker: Worker
) -> None:
    steps = Steps()
    job = start(jobs, steps)
    assert steps.running.wait(LONG_S)
    # As after kill -9: the ledger still says running when the next server reads it.
    assert ledger.all("job")[job]["state"] == "running"
    second = Worker()
    try:
        anew = Jobs(ledger, second)
        assert anew.view(job)["state"] == "interrupted"
        again = start(anew, lambda _: {})
        assert again != job
        assert anew.wait(again, LONG_S)["state"] == "done"
    finally:
        second.close()
    jobs.cancel(job)
    steps.go()
    jobs.wait(job, LONG_S)


def test_what_a_newer_version_keeps_with_a_job_is_passed_over(ledger: Ledger) -> None:
    kept = {"id": "x", "kind": "index", "key": "k", "params": {}, "state": "done", "colour": "red"}
    ledger.put("job", "x", kept)
    assert after_restart(ledger).view("x")["state"] == "done"


def test_a_job_is_started_only_when_the_ledger_has_it(jobs: Jobs, ledger: Ledger) -> None:
    ran: list[int] = []
    ledger.path.rename(ledger.path.with_suffix(".moved"))
    with pytest.raises(OutputError):
        start(jobs, lambda _: ran.append(1) or {})
    assert (jobs.all(), ran) == ([], [])
    ledger.path.with_suffix(".moved").rename(ledger.path)
    assert jobs.wait(start(jobs, lambda _: {}), LONG_S)["state"] == "done"


def test_a_thread_in_a_transaction_can_look_at_jobs_that_change(
    jobs: Jobs, ledger: Ledger, worker: Worker
) -> None:
    ended = threading.Event()
    with ledger.transaction():
        other = threading.Thread(
            target=lambda: (jobs.wait(start(jobs, lambda _: {}), LONG_S), ended.set())
        )
        other.start()
        for _ in range(50):
            jobs.all()
            time.sleep(0.002)
    assert ended.wait(LONG_S)
    worker.submit(SHOW, "end", lambda: None)
