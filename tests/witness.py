"""Somebody who reads journals and compares them with what the server promised."""

from __future__ import annotations

import collections
import hashlib
import json
from typing import Any

from tests.experts import Acknowledged, Memory, Sender


class Witness:
    """Reads the journals of studies and compares them with what was promised."""

    def __init__(self, sender: Sender, memory: Memory) -> None:
        self._sender, self._memory = sender, memory
        self._lines: dict[str, list[bytes]] = {}
        self.counts: collections.Counter[str] = collections.Counter()
        """Events seen, by type."""

    def events(self, study: str) -> list[dict[str, Any]]:
        """Return the journal of a study as it was last seen."""
        return [json.loads(line) for line in self._lines[study]]

    def look(self, studies: list[str]) -> None:
        """Check the journals of some studies: all of the chain, and all acknowledged of them."""
        notes = self._memory.notes()
        for study in studies:
            lines = self._sender.lines(f"/studies/{study}/journal")
            before = self._lines.get(study, [])
            assert lines[: len(before)] == before, f"{study}: what was in the journal has changed"
            self._lines[study] = lines
            check_chain(study, lines)
            events = self.events(study)
            check_promises(events, notes[study], self._memory.sent)
            self.counts.update(event["type"] for event in events[len(before) :])


def check_chain(study: str, lines: list[bytes]) -> None:
    """Compute the hashes of a journal anew (interfaces.md, Journal)."""
    previous = study
    for number, line in enumerate(lines, 1):
        stored, given = line.rsplit(b',"hash":"', 1)
        event = json.loads(line)
        assert (event["seq"], event["prev"]) == (number, previous), f"{study}: line {number}"
        previous = hashlib.sha256(stored + b"}").hexdigest()
        assert given == previous.encode() + b'"}', f"{study}: the hash of line {number}"


def check_promises(events: list[dict[str, Any]], notes: list[Acknowledged], sent: set[str]) -> None:
    """Find every acknowledged change once, and nothing that nobody sent.

    Parameters
    ----------
    events : list of dict
        The journal of one study.
    notes : list of Acknowledged
        What was acknowledged of it.
    sent : set of str
        All event ids that were ever sent.
    """
    by_id: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for event in events:
        if "event_id" in event["data"]:
            by_id[event["data"]["event_id"]].append(event)
    assert by_id.keys() <= sent, f"Nobody sent {by_id.keys() - sent}."
    types = {"labels": "label", "queries": "query", "undo": "undo", "studies": "study_created"}
    for note in notes:
        found = by_id[note.event_id]
        expected = len(note.labels) or 1
        assert len(found) == expected, f"{note} is {len(found)} times in the journal."
        assert {event["type"] for event in found} == {types[note.kind]}, note
        labels = [(event["data"].get("patch"), event["data"].get("label")) for event in found]
        if note.labels:
            assert sorted(labels) == sorted(note.labels), f"{note} was changed to {labels}."
        assert events[note.seq - 1]["hash"] == note.hash, f"The receipt of {note} does not hold."
    for event_id, found in by_id.items():
        # Also what was never acknowledged is there whole or not at all.
        pairs = [(event["data"].get("patch"), event["type"]) for event in found]
        assert len(set(pairs)) == len(pairs), f"{event_id} is doubled: {pairs}"
