"""A study on the terminal, and for programs: what `study list` and `study show` say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from slideloop.studies.study import Study
from slideloop.studies.views import study_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slideloop.studies.journal import Event


def view_of(events: Sequence[Event]) -> dict[str, Any]:
    """Return the wire `study`, and what its journal says besides.

    Raises
    ------
    JournalError
        If the events do not fit each other.
    """
    newest = events[-1]
    fold = Study.of(events)
    return {
        **study_view(fold, newest.receipt),
        "created": events[0].time,
        "changed": newest.time,
        "n_trainings": fold.n_trainings,
        "slide_names": [record.get("name") for record in fold.slides],
    }


def print_row(view: dict[str, Any]) -> None:
    """Print a study as one line."""
    n_labels = sum(view["n_labels"].values())
    state = "archived" if view["archived"] else view["state"]
    click.echo(f"{view['id']}  {_minute(view['changed'])}  {n_labels:>6,} labels  {state:<12}  "
               f"{_printable(view['name'])}")  # fmt: skip


def print_view(view: dict[str, Any]) -> None:
    """Print a study, a line for each thing to know of it."""
    labels = ", ".join(f"{_printable(name)} {n:,}" for name, n in view["n_labels"].items())
    given = f"{view['n_query_labels']:,} by queries, {view['n_region_labels']:,} by regions"
    state = view["state"] + (", archived" if view["archived"] else "")
    rounds = ", ".join(
        f"{_printable(session['query']['label'])} {session['rounds_done']}/{view['rounds']}"
        for session in view["sessions"]
    )
    head = view["journal"]
    for name, value in {
        "study": view["id"],
        "name": _printable(view["name"]),
        "state": state,
        "made": _minute(view["created"]),
        "changed": _minute(view["changed"]),
        "slides": ", ".join(_printable(str(name)) for name in view["slide_names"]),
        "asks": f"{view['k']} patches a round by {view['strategy']}, engine {view['engine']}, "
        f"{view['mode']} mode",
        "labels": labels,
        "given": given,
        "sessions": rounds or "none",
        "trainings": f"{view['n_trainings']:,}",
        "receipt": f"{head['seq']}:{head['hash']}",
    }.items():
        click.echo(f"{name:<10} {value}")


def _minute(time: str) -> str:
    return f"{time[:10]} {time[11:16]} UTC"


def _printable(text: str) -> str:
    """Return a text of the user's without what would move the cursor."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
