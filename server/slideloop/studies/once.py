"""Once is enough: a request that is sent again gets its first answer (interfaces.md, rules).

Owns the comparison of a repeated request with what was answered before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slideloop.errors import EventIdReusedError
from slideloop.studies.journal import new_id

if TYPE_CHECKING:
    from slideloop.studies.ledger import Ledger


class Request:
    """What is known of a request beside its content.

    Parameters
    ----------
    event_id : str or None
        The client's UUID; None: one is made.
    body_sha256 : str
        Of verb, path and body.
    reader : str, optional
        Who judged.
    """

    def __init__(self, event_id: str | None, body_sha256: str, reader: str | None = None) -> None:
        self.event_id = event_id or new_id()
        self.body_sha256 = body_sha256
        self.reader = reader


@dataclass(frozen=True)
class Answer:
    """What a request gets.

    Attributes
    ----------
    status : int
    body : dict
    """

    status: int
    body: dict[str, Any]


def first_answer(ledger: Ledger, scope: str, request: Request) -> Answer | None:
    """Return the answer that the same request got before, or None if it is new.

    Parameters
    ----------
    ledger : Ledger
    scope : str
        Id of the study, or "studies" for those that make one.
    request : Request

    Raises
    ------
    EventIdReusedError
        If the event id was used for something else.
    """
    known = ledger.answered(scope, request.event_id)
    if known is None:
        return None
    if known.answer is None:
        raise EventIdReusedError(
            f"The event id {request.event_id} was used before this study was imported here.",
            hint="What it did is in the journal; look at the round and go on.",
        )
    if known.body_sha256 != request.body_sha256:
        raise EventIdReusedError(
            f"The event id {request.event_id} was used for another request.",
            hint="Give every new request a new UUID, and only the same one again the same.",
        )
    return Answer(known.status, known.answer)
