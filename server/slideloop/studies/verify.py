"""Whether a study's journal is what was written: chain, head file, receipt.

Owns the verdict. Tamper-evident, not tamper-proof: who rewrites the chain and its head file is
found out only by a receipt `SEQ:HASH` kept elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slideloop.errors import UnknownStudyError
from slideloop.files import unwritable
from slideloop.studies.chains import is_study_id
from slideloop.studies.journal import BrokenChainError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slideloop.studies.heads import Head
    from slideloop.studies.journal import Event
    from slideloop.studies.ledger import Ledger


@dataclass(frozen=True)
class Verdict:
    """A chain that holds.

    Attributes
    ----------
    study : str
    seq : int
        Number of its events.
    hash : str
        Of the newest one.
    noted : tuple of int and str, or None
        Newest head of the head file, which may lag by a commit; None: there is no such file, so
        that a tail cut off could not be seen without a receipt.
    """

    study: str
    seq: int
    hash: str
    noted: tuple[int, str] | None


def verify(ledger: Ledger, study: str, expect: tuple[int, str] | None = None) -> Verdict:
    """Check the whole chain of a study from the stored bytes, its head file and a receipt.

    Parameters
    ----------
    ledger : Ledger
    study : str
    expect : tuple of int and str, optional
        Seq and hash that must be in the chain: a receipt.

    Raises
    ------
    UnknownStudyError
        If there is no such study, and none was noted.
    BrokenChainError
        If it does not hold: which event, and how.
    """
    file = ledger.head_file(study)
    if not is_study_id(study):
        raise _unknown(study)
    try:
        # Before the chain: what a server appends meanwhile must not seem to be missing.
        noted = file.read()
    except OSError as err:
        raise unwritable(file.path, err) from err
    events = ledger.events(study)
    if not events and not noted:
        raise _unknown(study)
    for head in noted:
        require_head(study, events, head, f"the head file {file.path}")
    if expect is not None:
        require_head(study, events, expect, "the receipt")
    newest = events[-1]
    return Verdict(study, newest.seq, newest.hash, max(noted) if noted else None)


def require_head(study: str, events: Sequence[Event], head: Head, witness: str) -> None:
    """Refuse a chain without an event of that seq and hash.

    Raises
    ------
    BrokenChainError
    """
    seq, hash_ = head
    if not 1 <= seq <= len(events):
        raise BrokenChainError(
            f"The journal of study {study} was cut off: it has {len(events)} events, {witness} "
            f"says {seq}.",
            hint="Put back a newer backup. If you put back an older one on purpose, move the "
            "study's head file away.",
        )
    if events[seq - 1].hash != hash_:
        raise BrokenChainError(
            f"Event {seq} of study {study} was replaced: its hash is "
            f"{events[seq - 1].hash[:12]}, {witness} says {hash_[:12]}.",
            hint="Put back a copy that `slideloop study backup` made.",
        )


def _unknown(study: str) -> UnknownStudyError:
    return UnknownStudyError(
        f"There is no study {study}.", hint="List them with `slideloop study list`."
    )
