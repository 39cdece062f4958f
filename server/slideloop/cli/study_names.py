"""Which study a user means: a journal file, or a study of the workspace by id, prefix or name.

Shared by `predict` and `study`.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slideloop.errors import JournalError, SlideloopError, UnknownStudyError
from slideloop.studies.journal import Journal, read_journal
from slideloop.studies.ledger import Ledger, StoredJournal, open_ledger
from slideloop.studies.storage import FILE
from slideloop.studies.undo import effective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slideloop.studies.journal import Event

PREFIX_CHARACTERS = 8
"""The beginning of an id that is enough, if no other study's begins so."""


@dataclass(frozen=True)
class FoundStudy:
    """A study and where it was found.

    Attributes
    ----------
    journal : Journal
    paths : dict of str to Path
        Where the workspace last saw slides, by slide id; empty for a journal file.
    """

    journal: Journal
    paths: dict[str, Path] = field(default_factory=dict)


def as_journal_file(text: str) -> Path | None:
    """Return the path of a journal file if that is what is meant, there or not."""
    path = Path(text)
    separators = [sep for sep in (os.sep, os.altsep) if sep]
    looks_like_one = path.suffix == ".ndjson" or any(sep in text for sep in separators)
    return path if looks_like_one or path.is_file() else None


def find_study(text: str, workspace: Path) -> FoundStudy:
    """Read the journal of the study meant.

    Raises
    ------
    UnknownStudyError
        If there is no such study, or more than one.
    JournalError
        If its journal does not hold or cannot be read.
    """
    path = as_journal_file(text)
    if path is not None:
        return FoundStudy(read_journal(path))
    ledger, study = find_id(text, workspace)
    slides = ledger.all("slide")
    paths = {id_: Path(slide["path"]) for id_, slide in slides.items() if slide.get("path")}
    return FoundStudy(StoredJournal.open(ledger, study), paths)


def find_id(text: str, workspace: Path) -> tuple[Ledger, str]:
    """Return the workspace's studies, open for reading, and the id of the one meant.

    Raises
    ------
    UnknownStudyError
        If there is no such study, or more than one.
    """
    ledger = look_into(workspace)
    if ledger is None:
        raise _unknown(text, workspace)
    return ledger, study_id(ledger, text)


def look_into(workspace: Path) -> Ledger | None:
    """Open a workspace's studies for reading, until the command ends; None: it has none."""
    if not (workspace / FILE).exists():
        return None
    ledger = open_ledger(workspace, read_only=True)
    click.get_current_context().call_on_close(ledger.close)
    return ledger


def require_ledger(workspace: Path) -> Ledger:
    """Open a workspace's studies as `look_into` does.

    Raises
    ------
    UnknownStudyError
        If it has none.
    """
    ledger = look_into(workspace)
    if ledger is None:
        raise UnknownStudyError(
            f"The workspace {workspace} has no studies.",
            hint="Choose another workspace with --workspace DIR.",
        )
    return ledger


def study_id(ledger: Ledger, text: str) -> str:
    """Return the id of the one study that is meant.

    Raises
    ------
    UnknownStudyError
        If there is none, or more than one.
    """
    ids = ledger.study_ids()
    if text in ids:
        return text
    found: set[str] = set()
    if len(text) >= PREFIX_CHARACTERS:
        found.update(id_ for id_ in ids if id_.startswith(text.lower()))
    wanted = unicodedata.normalize("NFC", text)
    found.update(id_ for id_ in ids if _name(ledger, id_) == wanted)
    if not found:
        raise _unknown(text, ledger.workspace)
    if len(found) > 1:
        raise UnknownStudyError(
            f"{text!r} means {len(found)} studies: {', '.join(sorted(found))}.",
            hint="Give one of these ids.",
        )
    return found.pop()


def name_of(events: Sequence[Event]) -> str:
    """Return the name that a study has now."""
    name = ""
    for event in effective(events):
        if event.type in ("study_created", "settings"):
            name = str(event.data.get("name", name))
    return name


def _name(ledger: Ledger, study: str) -> str | None:
    try:
        return unicodedata.normalize("NFC", name_of(ledger.events(study)))
    except JournalError:
        return None


def _unknown(text: str, workspace: Path) -> SlideloopError:
    return UnknownStudyError(
        f"There is neither a study {text!r} in the workspace {workspace} nor a file of that name.",
        hint="See `slideloop study list`, or choose another workspace with --workspace DIR.",
    )
