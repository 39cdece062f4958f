"""Starting the process that works by paquo, and hearing what became of its job.

Owns the process: its empty folder, its memory, its time limit. Imports no paquo: that starts a JVM,
ends with this process only, and takes its settings from the current folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slideloop.errors import QuPathError
from slideloop.qupath.installation import VARIABLE, QuPath, find_qupath

HEAP_PERCENT = 40
"""Of this machine's memory, at most, for the JVM."""

LEAST_S, PER_IMAGE_S = 180.0, 600.0
_LOOK_S = 0.1
_MOST_LOG_BYTES = 64 * 2**20


def require_qupath() -> QuPath:
    """Return the QuPath of this machine.

    Raises
    ------
    QuPathError
        If there is none.
    """
    qupath = find_qupath()
    if qupath is None:
        named = os.environ.get(VARIABLE)
        where = f"{VARIABLE} names {named}, where there is none" if named else "none was found"
        raise QuPathError(
            f"Projects are written by QuPath's own code, and {where}.",
            hint=f"Install QuPath, or let {VARIABLE} name its folder; the usual places are "
            "searched otherwise. `slideloop doctor` says what was found.",
        )
    return qupath


def run_tasks(qupath: QuPath, job: dict[str, Any], told: Callable[[dict[str, Any]], None]) -> None:
    """Have a job done by paquo; an image that it cannot get over keeps no other from its turn.

    Parameters
    ----------
    qupath : QuPath
    job : dict
        As `paquo_child` takes it: `project, mode, classes, tasks`.
    told : callable
        Gets an answer per task as soon as it is there, with `entry`, and `problem` if it failed.

    Raises
    ------
    QuPathError
        If paquo is not installed, or cannot use that QuPath at all.
    """
    tasks: list[dict[str, Any]] = job["tasks"]
    while tasks:
        settled: set[str] = set()

        def heard(answer: dict[str, Any], settled: set[str] = settled) -> None:
            if "entry" in answer:
                settled.add(answer["entry"])
                told(answer)

        why = run_child(qupath, {**job, "tasks": tasks}, heard)
        rest = [task for task in tasks if task["entry"] not in settled]
        if rest:
            # The one that it stopped at.
            said = why or "QuPath said nothing about it."
            told({"entry": rest[0]["entry"], "code": "failed", "problem": said})
        tasks = rest[1:]


def run_child(
    qupath: QuPath, job: dict[str, Any], told: Callable[[dict[str, Any]], None]
) -> str | None:
    """Have a job done by paquo, in a process of its own.

    Parameters
    ----------
    qupath : QuPath
    job : dict
        As `paquo_child` takes it: `project, mode, classes, tasks`.
    told : callable
        Gets each answer as soon as it is there.

    Returns
    -------
    str or None
        Why it ended before each image had an answer, as a sentence; None where it did not.

    Raises
    ------
    QuPathError
        If paquo is not installed, or cannot use that QuPath at all.
    """
    with tempfile.TemporaryDirectory(prefix="slideloop-paquo-") as folder:
        here = Path(folder)
        (here / "job.json").write_text(json.dumps(job), "utf-8")
        answers, log = here / "answers.ndjson", here / "log.txt"
        answers.touch()
        command = [sys.executable, "-P", "-m", "slideloop.qupath.paquo_child"]
        with log.open("wb") as output:
            child = subprocess.Popen(
                [*command, str(here / "job.json"), str(answers)],
                cwd=here,
                env=_environment(qupath),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                n_told, why = _listen(child, answers, log, told)
            finally:
                child.kill()
                child.wait()
        if why is not None:
            return why
        if child.returncode == 0:
            return None
        said = log.read_text("utf-8", "replace").strip()
        if n_told == 0:
            raise QuPathError(
                f"paquo cannot use the QuPath in {qupath.folder}: {_last_line(said)}.",
                hint="QuPath 0.5 to 0.7 will do, as its installer lays it out.",
            )
        return f"QuPath ended in the middle: {_last_line(said)}."


def _listen(
    child: subprocess.Popen[bytes], file: Path, log: Path, told: Callable[[dict[str, Any]], None]
) -> tuple[int, str | None]:
    """Pass on answers until the child ends; return how many, and why it must be stopped."""
    n_told, limit = 0, time.monotonic() + LEAST_S + PER_IMAGE_S
    with file.open(encoding="utf-8") as answers:
        while True:
            is_over = child.poll() is not None
            while line := answers.readline():
                told(json.loads(line))
                n_told += 1
                limit = time.monotonic() + PER_IMAGE_S
            if is_over:
                return n_told, None
            if time.monotonic() > limit:
                return n_told, "QuPath did not answer in time and was stopped."
            if log.stat().st_size > _MOST_LOG_BYTES:
                # It reads some damaged files without end, and says so each time.
                return n_told, "QuPath could not read the image's data file and was stopped."
            time.sleep(_LOOK_S)


def _environment(qupath: QuPath) -> dict[str, str]:
    ours = {key: value for key, value in os.environ.items() if not key.startswith("PAQUO_")}
    heap = [f"-XX:MaxRAMPercentage={HEAP_PERCENT}", "-Djava.awt.headless=true"]
    return {**ours, VARIABLE: str(qupath.folder), "PAQUO_JAVA_OPTS": json.dumps(heap)}


def _last_line(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1].strip().rstrip(".") if lines else "it said nothing"
