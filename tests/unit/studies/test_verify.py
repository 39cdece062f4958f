"""Verify: what somebody did to a stored study is found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ledgers import new_study, without_triggers

from slideloop.errors import UnknownStudyError
from slideloop.studies.heads import LONG_BYTES
from slideloop.studies.journal import BrokenChainError, Event, chained_event, new_id
from slideloop.studies.ledger import Ledger, StoredJournal, hold_workspace, open_ledger, verify


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def journal(ledger: Ledger) -> StoredJournal:
    new_study(ledger)
    return new_study(ledger)


def broken(ledger: Ledger, journal: StoredJournal, what: str) -> None:
    with pytest.raises(BrokenChainError, match=what):
        verify(ledger, journal.study)


def put(ledger: Ledger, study: str, event: Event) -> None:
    """Store an event in place of another, with a hash of its own that fits."""
    without_triggers(
        ledger,
        "UPDATE events SET stored = :stored, hash = :hash WHERE study = :study AND seq = :seq",
        study=study,
        seq=event.seq,
        stored=event.stored,
        hash=event.hash,
    )


def rewritten(ledger: Ledger, journal: StoredJournal, seq: int) -> list[Event]:
    """Replace an event and chain all behind it anew, as somebody who knows how it works."""
    events = journal.events[: seq - 1]
    for old in journal.events[seq - 1 :]:
        data = {"patch": "forged"} if old.seq == seq else old.data
        head = (events[-1].seq, events[-1].hash)
        events.append(chained_event(journal.study, head, old.type, data))
        put(ledger, journal.study, events[-1])
    return events


def test_an_untouched_study_holds(ledger: Ledger, journal: StoredJournal) -> None:
    newest = journal.events[-1]
    verdict = verify(ledger, journal.study, (3, journal.events[2].hash))
    assert (verdict.seq, verdict.hash, verdict.noted) == (5, newest.hash, (5, newest.hash))


def test_a_changed_row_is_found(ledger: Ledger, journal: StoredJournal) -> None:
    without_triggers(
        ledger,
        "UPDATE events SET stored = CAST(replace(stored, 'Tumor', 'Norma') AS BLOB) "
        "WHERE study = :study AND seq = 3",
        study=journal.study,
    )
    broken(ledger, journal, "Event 3 .* was changed: its hash differs")


def test_a_changed_row_with_a_new_hash_is_found(ledger: Ledger, journal: StoredJournal) -> None:
    stored = journal.events[2].stored.replace(b"Tumor", b"Norma")
    without_triggers(
        ledger,
        "UPDATE events SET stored = :s, hash = :h WHERE study = :study AND seq = 3",
        s=stored,
        h=hashlib.sha256(stored).hexdigest(),
        study=journal.study,
    )
    broken(ledger, journal, "Event 4 .* does not follow")


@pytest.mark.parametrize("seq", [1, 2, 4])
def test_a_removed_row_is_found(ledger: Ledger, journal: StoredJournal, seq: int) -> None:
    without_triggers(
        ledger,
        "DELETE FROM events WHERE study = :study AND seq = :seq",
        study=journal.study,
        seq=seq,
    )
    broken(ledger, journal, "does not follow|does not create")


def test_a_removed_row_is_found_when_the_others_close_up(
    ledger: Ledger, journal: StoredJournal
) -> None:
    without_triggers(
        ledger,
        "DELETE FROM events WHERE study = :study AND seq = 3",
        "UPDATE events SET seq = seq - 1 WHERE study = :study AND seq > 3",
        study=journal.study,
    )
    broken(ledger, journal, "Event 3")


def test_rows_in_another_order_are_found(ledger: Ledger, journal: StoredJournal) -> None:
    without_triggers(
        ledger,
        "UPDATE events SET seq = -2 WHERE study = :study AND seq = 2",
        "UPDATE events SET seq = 2 WHERE study = :study AND seq = 3",
        "UPDATE events SET seq = 3 WHERE study = :study AND seq = -2",
        study=journal.study,
    )
    broken(ledger, journal, "Event 2")


def test_a_row_of_another_study_is_found(ledger: Ledger, journal: StoredJournal) -> None:
    other = new_study(ledger)
    put(ledger, journal.study, other.events[2])
    broken(ledger, journal, "Event 3 .* does not follow")


def test_a_row_before_the_first_is_found(ledger: Ledger, journal: StoredJournal) -> None:
    event = journal.events[-1]
    without_triggers(
        ledger,
        "INSERT INTO events (study, seq, stored, hash) VALUES (:study, 6, :stored, :hash)",
        study=journal.study,
        stored=event.stored,
        hash=event.hash,
    )
    broken(ledger, journal, "Event 6")


def test_what_is_no_event_is_found(ledger: Ledger, journal: StoredJournal) -> None:
    for stored in ("text", None, b"{}", b"[" * 100_000, 7):
        without_triggers(
            ledger,
            "UPDATE events SET stored = coalesce(:s, x'00') WHERE study = :study AND seq = 3",
            s=stored,
            study=journal.study,
        )
        broken(ledger, journal, "Event 3 .* is not an event")


def test_a_changed_event_id_is_found(ledger: Ledger) -> None:
    journal = new_study(ledger, 0)
    journal.append("label", {"event_id": "e"}, "e")
    without_triggers(ledger, "UPDATE events SET event_id = 'f' WHERE event_id = 'e'")
    broken(ledger, journal, "Event 2 .* its event id differs")


def test_a_replaced_tail_is_found_by_the_head_file(ledger: Ledger, journal: StoredJournal) -> None:
    forged = rewritten(ledger, journal, 5)
    assert ledger.events(journal.study) == forged
    broken(ledger, journal, r"Event 5 .* was replaced: .* the head file")


def test_a_history_written_anew_is_found_by_older_heads(
    ledger: Ledger, journal: StoredJournal
) -> None:
    forged = rewritten(ledger, journal, 3)
    ledger.head_file(journal.study).append((forged[-1].seq, forged[-1].hash))
    broken(ledger, journal, r"Event 3 .* was replaced")


def test_a_history_written_anew_is_found_by_a_receipt(
    ledger: Ledger, journal: StoredJournal
) -> None:
    receipt = (4, journal.events[3].hash)
    rewritten(ledger, journal, 3)
    ledger.head_file(journal.study).path.unlink()
    assert verify(ledger, journal.study).noted is None
    with pytest.raises(BrokenChainError, match=r"Event 4 .* was replaced: .* the receipt"):
        verify(ledger, journal.study, receipt)


def test_a_tail_cut_off_is_found_by_the_head_file(ledger: Ledger, journal: StoredJournal) -> None:
    without_triggers(
        ledger, "DELETE FROM events WHERE study = :study AND seq > 3", study=journal.study
    )
    broken(ledger, journal, "cut off: it has 3 events, the head file .* says")


def test_a_tail_cut_off_is_found_by_a_receipt(ledger: Ledger, journal: StoredJournal) -> None:
    ledger.head_file(journal.study).path.unlink()
    without_triggers(
        ledger, "DELETE FROM events WHERE study = :study AND seq > 3", study=journal.study
    )
    assert verify(ledger, journal.study).seq == 3
    with pytest.raises(BrokenChainError, match="cut off: it has 3 events, the receipt says 5"):
        verify(ledger, journal.study, (5, journal.events[4].hash))


def test_a_study_that_was_removed_whole_is_found(ledger: Ledger, journal: StoredJournal) -> None:
    without_triggers(ledger, "DELETE FROM events WHERE study = :study", study=journal.study)
    broken(ledger, journal, "cut off: it has 0 events")


@pytest.mark.parametrize("seq", [0, -1, 6, 10**12])
def test_a_receipt_of_no_event_does_not_hold(
    ledger: Ledger, journal: StoredJournal, seq: int
) -> None:
    with pytest.raises(BrokenChainError, match=f"the receipt says {seq}"):
        verify(ledger, journal.study, (seq, "0" * 64))


def test_a_study_that_never_was_is_not_known(ledger: Ledger) -> None:
    for study in (new_id(), "../heads", ""):
        with pytest.raises(UnknownStudyError):
            verify(ledger, study)


# The head file -------------------------------------------------------------------------------


def test_a_head_file_that_lags_holds(ledger: Ledger, journal: StoredJournal) -> None:
    path = ledger.head_file(journal.study).path
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert verify(ledger, journal.study).noted == (4, journal.events[3].hash)


@pytest.mark.parametrize("torn", ["6", "6 ", "6 0123abcd", "6 " + "0" * 64, "\x00\x00\x00"])
def test_a_torn_line_is_ignored_and_ended_by_the_next(
    ledger: Ledger, journal: StoredJournal, torn: str
) -> None:
    file = ledger.head_file(journal.study)
    # Cut off before its line break, as by a power failure.
    torn = torn.replace("0" * 64, journal.append("label", {}).hash)
    with file.path.open("r+") as written:
        content = written.read().splitlines(keepends=True)[:5]
        written.seek(0)
        written.truncate()
        written.write("".join(content) + torn)
    assert verify(ledger, journal.study).noted == (5, journal.events[4].hash)
    journal.append("label", {})
    assert verify(ledger, journal.study).noted == (7, journal.events[6].hash)


def test_a_head_that_cannot_be_noted_does_not_undo_a_commit(
    ledger: Ledger, journal: StoredJournal, caplog: pytest.LogCaptureFixture
) -> None:
    path = ledger.head_file(journal.study).path
    with ledger.transaction():
        journal.append("label", {})
        path.unlink()
        path.mkdir()
    assert len(ledger.events(journal.study)) == len(journal.events) == 6
    assert "was not noted" in caplog.text


def test_a_head_file_that_cannot_be_written_refuses_before_the_commit(
    ledger: Ledger, journal: StoredJournal
) -> None:
    from slideloop.errors import OutputError

    path = ledger.head_file(journal.study).path
    path.unlink()
    path.mkdir()
    with pytest.raises(OutputError, match=journal.study):
        journal.append("label", {})
    assert len(ledger.events(journal.study)) == len(journal.events) == 5


def long_head_file(ledger: Ledger, journal: StoredJournal) -> Path:
    path = ledger.head_file(journal.study).path
    content = path.read_text()
    path.write_text(content + content * (LONG_BYTES // len(content) + 1))
    return path


def test_a_long_head_file_is_made_short_by_the_holder_only(
    ledger: Ledger, journal: StoredJournal, tmp_path: Path
) -> None:
    path = long_head_file(ledger, journal)
    before = path.read_bytes()
    ledger.close()
    open_ledger(tmp_path, read_only=True).close()
    open_ledger(tmp_path).close()
    assert path.read_bytes() == before
    with hold_workspace(tmp_path):
        opened = open_ledger(tmp_path)
    newest = journal.events[-1]
    assert path.read_text() == f"5 {newest.hash}\n"
    assert verify(opened, journal.study).noted == (5, newest.hash)
    opened.close()


def test_making_it_short_keeps_what_tells_of_tampering(
    ledger: Ledger, journal: StoredJournal, tmp_path: Path
) -> None:
    long_head_file(ledger, journal)
    rewritten(ledger, journal, 3)
    ledger.close()
    with hold_workspace(tmp_path):
        opened = open_ledger(tmp_path)
    broken(opened, journal, "was replaced")
    opened.close()
