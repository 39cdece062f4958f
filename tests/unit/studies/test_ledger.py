"""The ledger: what it has taken is kept, whole, in order, whatever happens."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ledgers import APPEND_FOR_EVER, by_hand, child, new_study

from slideloop.errors import (
    BusyError,
    EventIdReusedError,
    InvalidInputError,
    JournalError,
    OutputError,
    SlideloopError,
    WorkspaceBusyError,
)
from slideloop.studies.journal import SCHEMA, BrokenChainError, Journal, new_id, read_journal
from slideloop.studies.ledger import (
    Answered,
    Ledger,
    StoredJournal,
    hold_workspace,
    import_journal,
    open_ledger,
    verify,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(tmp_path / "workspace")
    yield opened
    opened.close()


def reopened(ledger: Ledger) -> Ledger:
    ledger.close()
    return open_ledger(ledger.workspace)


def in_thread(function: Any) -> Any:
    """What a function returns in another thread; it must not wait for this one."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    return found[0]


# Events --------------------------------------------------------------------------------------


def test_events_are_there_when_the_ledger_is_opened_again(ledger: Ledger) -> None:
    journal = new_study(ledger)
    again = reopened(ledger)
    assert again.study_ids() == [journal.study]
    assert again.events(journal.study) == journal.events
    assert again.head(journal.study) == (5, journal.events[-1].hash)
    assert StoredJournal.open(again, journal.study).events == journal.events
    again.close()


def test_a_stored_journal_has_the_form_of_an_exported_one(ledger: Ledger, tmp_path: Path) -> None:
    journal = new_study(ledger)
    (tmp_path / "j.ndjson").write_bytes(b"".join(journal.lines()))
    assert read_journal(tmp_path / "j.ndjson").events == journal.events


def test_events_come_behind_a_seq_and_up_to_a_limit(ledger: Ledger) -> None:
    study = new_study(ledger).study
    seqs = [
        [event.seq for event in ledger.events(study, after, limit)]
        for after, limit in [(0, 2), (1, None), (1, 2), (3, 9), (5, None), (9, 1), (0, 0)]
    ]
    assert seqs == [[1, 2], [2, 3, 4, 5], [2, 3], [4, 5], [], [], []]


def test_studies_are_listed_as_they_were_made(ledger: Ledger) -> None:
    made = [new_study(ledger, 1).study for _ in range(6)]
    assert ledger.study_ids() == made
    assert ledger.events(new_id()) == []
    assert ledger.head(new_id()) is None


def test_an_event_id_is_taken_once_a_study(ledger: Ledger) -> None:
    journal, other = new_study(ledger), new_study(ledger)
    with pytest.raises(EventIdReusedError, match="label-0"):
        journal.append("label", {}, "label-0")
    assert len(journal.events) == len(ledger.events(journal.study)) == 5
    assert other.append("label", {}, "of the other").seq == 6


@pytest.mark.parametrize(
    "study", ["../outside", "", "A" * 36, "6F1C4B5E-0A1B-4C2D-8E3F-5A6B7C8D9E0F"]
)
def test_a_study_needs_an_id_that_is_no_path(ledger: Ledger, study: str) -> None:
    with pytest.raises(JournalError, match="under a UUID"):
        StoredJournal.open(ledger, study).append("study_created", {"id": study})
    assert ledger.study_ids() == []


def test_the_first_event_must_make_the_study(ledger: Ledger) -> None:
    with pytest.raises(JournalError, match="must create it"):
        StoredJournal.open(ledger, new_id()).append("label", {})


def test_half_a_character_is_refused_before_it_is_stored(ledger: Ledger) -> None:
    journal = new_study(ledger)
    with pytest.raises(InvalidInputError, match="surrogate"):
        journal.append("settings", {"name": "\ud800"})
    assert verify(ledger, journal.study).seq == 5


def test_a_journal_that_missed_events_does_not_write_on(ledger: Ledger) -> None:
    journal = new_study(ledger)
    StoredJournal.open(ledger, journal.study).append("label", {"patch": "elsewhere"})
    with pytest.raises(JournalError, match="changed elsewhere"):
        journal.append("label", {"patch": "here"})
    journal.reload()
    assert journal.append("label", {"patch": "here"}).seq == 7


# Transactions --------------------------------------------------------------------------------


def test_what_raises_leaves_nothing(ledger: Ledger) -> None:
    journal = new_study(ledger)
    heads = ledger.head_file(journal.study).read()
    with pytest.raises(ZeroDivisionError), ledger.transaction() as transaction:
        transaction.append(journal.study, "label", {}, "lost")
        transaction.remember(journal.study, "lost", "body", 200, {})
        ledger.put("job", "lost", {})
        raise ZeroDivisionError
    assert ledger.events(journal.study) == journal.events
    assert ledger.answered(journal.study, "lost") is None
    assert ledger.get("job", "lost") is None
    assert ledger.head_file(journal.study).read() == heads


def test_a_transaction_within_one_is_part_of_it(ledger: Ledger) -> None:
    journal = new_study(ledger)
    with pytest.raises(ZeroDivisionError), ledger.transaction():
        journal.append("label", {"patch": "a"})
        with ledger.transaction() as inner:
            inner.append(journal.study, "label", {"patch": "b"})
        raise ZeroDivisionError
    assert len(ledger.events(journal.study)) == 5


def test_a_transaction_does_not_survive_a_failure_within_it(ledger: Ledger) -> None:
    journal = new_study(ledger)

    def change() -> None:
        with ledger.transaction():
            journal.append("label", {"patch": "a"})
            with pytest.raises(EventIdReusedError):
                journal.append("label", {"patch": "b"}, "label-0")

    with pytest.raises(JournalError, match="none of it was kept"):
        change()
    assert len(ledger.events(journal.study)) == 5


def test_a_transaction_sees_its_own_changes_and_others_do_not(ledger: Ledger) -> None:
    journal = new_study(ledger)
    with ledger.transaction() as transaction:
        journal.append("label", {}, "new")
        transaction.remember(journal.study, "new", "body", 200, {"a": 1})
        ledger.put("job", "j", {"state": "running"})
        here = (len(ledger.events(journal.study)), ledger.answered(journal.study, "new"))
        assert here == (6, Answered("body", 200, {"a": 1}))
        assert ledger.get("job", "j") == {"state": "running"}
        there = in_thread(
            lambda: (
                len(ledger.events(journal.study)),
                ledger.head(journal.study),
                ledger.answered(journal.study, "new"),
                ledger.all("job"),
            )
        )
        assert there == (5, (5, journal.events[4].hash), None, {})
    assert in_thread(lambda: len(ledger.events(journal.study))) == 6


def test_a_writer_waits_for_the_one_before_it(ledger: Ledger) -> None:
    journal, other = new_study(ledger), new_study(ledger)
    writing = threading.Thread(target=lambda: other.append("label", {}))
    with ledger.transaction():
        writing.start()
        writing.join(0.2)
        assert writing.is_alive()
        journal.append("label", {})
    writing.join(5)
    assert (len(journal.events), len(other.events)) == (6, 6)


def test_threads_that_write_at_once_make_one_chain(ledger: Ledger) -> None:
    studies = [new_study(ledger).study, new_study(ledger).study]

    def write(number: int) -> None:
        for turn in range(20):
            with ledger.transaction() as transaction:
                for study in studies:
                    transaction.append(study, "label", {}, f"{number}/{turn}")
            ledger.events(studies[0], after=turn)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for study in studies:
        assert verify(ledger, study).seq == 125
        noted = [seq for seq, _ in ledger.head_file(study).read()]
        assert noted == list(range(1, 126))


# Answers and documents -----------------------------------------------------------------------


def test_an_answer_is_kept_and_can_be_revised(ledger: Ledger) -> None:
    with ledger.transaction() as transaction:
        transaction.remember("studies", "e", "sha", 201, {"name": "Zoë \ud800"})
    assert ledger.answered("studies", "e") == Answered("sha", 201, {"name": "Zoë \ud800"})
    assert ledger.answered("elsewhere", "e") is None
    ledger.revise("studies", "e", {"more": True})
    again = reopened(ledger)
    assert again.answered("studies", "e") == Answered("sha", 201, {"more": True})
    again.close()


def test_an_answer_is_not_kept_twice(ledger: Ledger) -> None:
    with ledger.transaction() as transaction:
        transaction.remember("s", "e", "sha", 200, {"first": True})
    with pytest.raises(EventIdReusedError), ledger.transaction() as transaction:
        transaction.remember("s", "e", "sha", 200, {"first": False})
    assert ledger.answered("s", "e") == Answered("sha", 200, {"first": True})


def test_documents_keep_the_order_in_which_they_came(ledger: Ledger) -> None:
    for id_ in ("b", "a", "c", "b"):
        ledger.put("slide", id_, {"id": id_, "path": "/x/\udcff.svs"})
    ledger.put("job", "a", {})
    assert list(ledger.all("slide")) == ["b", "a", "c"]
    assert ledger.get("slide", "b") == {"id": "b", "path": "/x/\udcff.svs"}
    assert ledger.get("slide", "none") is None


def test_nan_enters_no_document(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="JSON"):
        ledger.put("job", "a", {"rate": float("nan")})


# What the database itself refuses ------------------------------------------------------------

ROW = "(study, seq, event_id, stored, hash)"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET stored = '{}' WHERE seq = 2",
        "UPDATE OR REPLACE events SET seq = 3 WHERE seq = 2",
        "DELETE FROM events WHERE seq = 5",
        "DELETE FROM events",
        f"INSERT INTO events {ROW} VALUES (:study, 3, NULL, '{{}}', 'h')",
        f"INSERT OR REPLACE INTO events {ROW} VALUES (:study, 3, NULL, '{{}}', 'h')",
        f"REPLACE INTO events {ROW} VALUES (:study, 6, 'label-0', '{{}}', 'h')",
        f"INSERT OR IGNORE INTO events {ROW} VALUES (:study, 7, NULL, '{{}}', 'h')",
        f"REPLACE INTO events (number, {ROW[1:]} VALUES (3, :study, 6, NULL, '{{}}', 'h')",
        f"INSERT INTO events {ROW} VALUES (:study, 3, NULL, '{{}}', 'h') "
        "ON CONFLICT (study, seq) DO UPDATE SET stored = excluded.stored",
        "DELETE FROM answers",
    ],
)
def test_the_database_refuses_to_change_what_happened(ledger: Ledger, statement: str) -> None:
    journal = new_study(ledger)
    with ledger.transaction() as transaction:
        transaction.remember(journal.study, "e", "sha", 200, {})
    # From a connection that knows nothing of recursive_triggers.
    with pytest.raises(sqlite3.IntegrityError, match=r"events are|answers are"):
        by_hand(ledger, statement, study=journal.study)
    assert ledger.events(journal.study) == journal.events


def test_the_settings_that_keep_labels_safe_are_on(ledger: Ledger) -> None:
    with ledger.transaction():
        ledger.put("job", "a", {})
    found = {
        name: ledger._connections.writer.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "recursive_triggers", "user_version")
    }
    expected = {"journal_mode": "wal", "synchronous": 2, "recursive_triggers": 1, "user_version": 1}
    assert found == expected


# Databases that cannot be used ---------------------------------------------------------------


def test_a_newer_database_is_refused_and_left_alone(ledger: Ledger) -> None:
    journal = new_study(ledger)
    by_hand(ledger, "PRAGMA user_version = 2")
    for read_only in (True, False):
        with pytest.raises(JournalError, match=r"newer slideloop .*version 2, known up to 1"):
            open_ledger(ledger.workspace, read_only=read_only)
    by_hand(ledger, "PRAGMA user_version = 1")
    assert ledger.events(journal.study) == journal.events


def test_a_newer_event_is_refused_with_the_way_out(ledger: Ledger) -> None:
    journal = new_study(ledger)
    own, next_one = (b'"schema":%d' % number for number in (SCHEMA, SCHEMA + 1))
    newer = journal.events[-1].stored.replace(own, next_one)
    assert newer != journal.events[-1].stored
    by_hand(ledger, "DROP TRIGGER events_stay")
    by_hand(ledger, "UPDATE events SET stored = :s WHERE seq = 5", s=newer)
    with pytest.raises(JournalError, match="newer slideloop") as caught:
        ledger.events(journal.study)
    assert caught.value.hint == "Update slideloop."


def test_another_program_s_database_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "slideloop.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(JournalError, match=r"not a database of slideloop's"):
            open_ledger(tmp_path, read_only=read_only)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "slideloop.db").write_bytes(b"not SQLite at all" * 300)
    for read_only in (False, True):
        with pytest.raises(JournalError, match="is damaged") as caught:
            open_ledger(tmp_path, read_only=read_only)
        assert "backup" in caught.value.hint


def test_a_database_damaged_inside_is_said_to_be_damaged(ledger: Ledger) -> None:
    journal = new_study(ledger, 200)
    ledger.close()
    content = bytearray(ledger.path.read_bytes())
    content[4096:] = b"\x55" * (len(content) - 4096)
    ledger.path.write_bytes(content)
    with pytest.raises(JournalError, match="is damaged"):
        damaged = open_ledger(ledger.workspace)
        damaged.events(journal.study)


def test_no_room_on_the_disk_is_said_and_nothing_is_lost(ledger: Ledger) -> None:
    journal = new_study(ledger)
    ledger.close()
    # Files of this child cannot grow beyond 300 kB.
    code = """
import resource, sys
from pathlib import Path
from slideloop.errors import OutputError
from slideloop.studies.ledger import StoredJournal, open_ledger
ledger = open_ledger(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
journal = StoredJournal.open(ledger, sys.argv[2])
while True:
    try:
        journal.append("label", {"text": "x" * 3000})
    except OutputError as err:
        print(len(journal.events))
        print(err)
        break
assert len(ledger.events(sys.argv[2])) == len(journal.events)
"""
    if sys.platform == "win32":
        pytest.skip("no limit on the size of files")
    done = child(code, ledger.workspace, journal.study)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    number, complaint = out.splitlines()
    assert "slideloop.db" in complaint
    assert "room" in complaint
    again = open_ledger(ledger.workspace)
    assert verify(again, journal.study).seq == int(number) >= 10
    assert StoredJournal.open(again, journal.study).append("label", {}).seq == int(number) + 1
    again.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        open_ledger(tmp_path / "file" / "workspace")


def test_looking_where_nothing_is_says_so_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"slideloop\.db"):
        open_ledger(tmp_path / "workspace", read_only=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="no folder is closed to root")
def test_a_folder_that_cannot_be_written_can_be_looked_at(ledger: Ledger) -> None:
    journal = new_study(ledger)
    ledger.close()
    ledger.workspace.chmod(0o500)
    ledger.path.chmod(0o400)
    try:
        looked_at = open_ledger(ledger.workspace, read_only=True)
        assert verify(looked_at, journal.study).seq == 5
        looked_at.close()
        with pytest.raises(OutputError):
            open_ledger(ledger.workspace)
    finally:
        ledger.workspace.chmod(0o700)


def test_a_database_that_was_taken_away_gets_no_more_labels(ledger: Ledger) -> None:
    journal = new_study(ledger)
    moved = ledger.path.rename(ledger.path.with_name("elsewhere.db"))
    with pytest.raises(OutputError, match="moved, removed or replaced"):
        journal.append("label", {})
    moved.rename(ledger.path)
    assert journal.append("label", {}).seq == 6


def test_a_ledger_for_looking_changes_nothing(ledger: Ledger) -> None:
    journal = new_study(ledger)
    looking = open_ledger(ledger.workspace, read_only=True)
    assert looking.events(journal.study) == journal.events
    for change in (
        lambda: looking.put("job", "a", {}),
        lambda: StoredJournal.open(looking, journal.study).append("label", {}),
    ):
        with pytest.raises(JournalError, match="opened for reading"):
            change()
    looking.close()


def test_a_closed_ledger_says_so(ledger: Ledger) -> None:
    journal = new_study(ledger)
    ledger.close()
    ledger.close()
    for use in (lambda: ledger.events(journal.study), lambda: journal.append("label", {})):
        with pytest.raises(BusyError, match="were closed"):
            use()


def test_nothing_is_left_beside_a_closed_database(ledger: Ledger) -> None:
    new_study(ledger)
    looking = open_ledger(ledger.workspace, read_only=True)
    looking.study_ids()
    ledger.close()
    looking.close()
    assert sorted(path.name for path in ledger.workspace.iterdir()) == ["heads", "slideloop.db"]


# Two processes -------------------------------------------------------------------------------


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        _, err = process.communicate(timeout=10)
        raise AssertionError(err)
    return line


def kill(process: subprocess.Popen[str]) -> list[str]:
    """Kill a process at once; what it had acknowledged comes back."""
    process.kill()
    out, _ = process.communicate(timeout=30)
    # The last line may be torn.
    return [line for line in out.splitlines(keepends=True) if line.endswith("\n")]


def test_a_second_server_is_kept_out_until_the_first_is_gone(tmp_path: Path) -> None:
    study = new_id()
    first = child(APPEND_FOR_EVER, tmp_path, study)
    try:
        first_line(first)
        with pytest.raises(WorkspaceBusyError, match=tmp_path.name), hold_workspace(tmp_path):
            pass
    finally:
        kill(first)
    with hold_workspace(tmp_path):
        with pytest.raises(WorkspaceBusyError), hold_workspace(tmp_path):
            pass
        second = child(APPEND_FOR_EVER, tmp_path, study)
        _, err = second.communicate(timeout=60)
        assert second.returncode
        assert "WorkspaceBusyError" in err


def test_a_workspace_can_be_let_go_in_another_thread(tmp_path: Path) -> None:
    holding = hold_workspace(tmp_path)
    holding.__enter__()
    in_thread(lambda: holding.__exit__(None, None, None))
    with hold_workspace(tmp_path):
        pass


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_nine(tmp_path: Path) -> None:
    study, rng = new_id(), random.Random(1)
    acknowledged: list[str] = []
    for _ in range(8):
        process = child(APPEND_FOR_EVER, tmp_path, study)
        acknowledged.append(first_line(process))
        time.sleep(rng.uniform(0, 0.1))
        acknowledged += kill(process)
        ledger = open_ledger(tmp_path, read_only=True)
        seq, hash_ = acknowledged[-1].split()
        verdict = verify(ledger, study, (int(seq), hash_))
        # The two labels, the answer and the document are there together or not at all.
        assert verdict.seq % 2 == 1
        assert ledger.get("job", "newest") == {"seq": verdict.seq}
        known = ledger.answered(study, f"{verdict.seq - 2}")
        assert known is not None
        assert known.answer == {"seq": verdict.seq}
        ledger.close()
    ledger = open_ledger(tmp_path, read_only=True)
    chain = {(event.seq, event.hash) for event in ledger.events(study)}
    assert {(int(a), b) for a, b in map(str.split, acknowledged)} <= chain
    assert len(chain) >= 16
    ledger.close()


@pytest.mark.slow
def test_a_backup_is_whole_while_another_process_writes(tmp_path: Path) -> None:
    workspace, study = tmp_path / "workspace", new_id()
    process = child(APPEND_FOR_EVER, workspace, study)
    try:
        first_line(process)
        ledger = open_ledger(workspace, read_only=True)
        sizes: list[int] = []
        for number in range(10):
            folder = tmp_path / f"copy-{number}"
            folder.mkdir()
            before = ledger.head(study)
            ledger.backup(folder / "slideloop.db")
            assert [path.name for path in folder.iterdir()] == ["slideloop.db"]
            copy = open_ledger(folder, read_only=True)
            verdict = verify(copy, study, before)
            assert verdict.seq % 2 == 1
            assert copy.get("job", "newest") == {"seq": verdict.seq}
            copy.close()
            sizes.append(verdict.seq)
            # As `study verify` beside a server: the head file grows meanwhile.
            assert verify(ledger, study).seq >= verdict.seq
        ledger.close()
        assert process.poll() is None
        assert len(set(sizes)) > 5
    finally:
        kill(process)


def test_two_processes_that_write_without_a_lock_still_make_one_chain(ledger: Ledger) -> None:
    study = new_study(ledger).study
    code = """
import sys
from pathlib import Path
from slideloop.studies.ledger import open_ledger
ledger = open_ledger(Path(sys.argv[1]))
print("ready", flush=True)
for _ in range(100):
    with ledger.transaction() as transaction:
        transaction.append(sys.argv[2], "label", {"from": "child"})
"""
    process = child(code, ledger.workspace, study)
    first_line(process)
    for _ in range(100):
        with ledger.transaction() as transaction:
            transaction.append(study, "label", {"from": "here"})
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert verify(ledger, study).seq == 205


def test_a_backup_does_not_overwrite_the_database(ledger: Ledger, tmp_path: Path) -> None:
    journal = new_study(ledger)
    for name in ("slideloop.db", "slideloop.db-wal"):
        with pytest.raises(OutputError, match="database itself"):
            ledger.backup(ledger.workspace / name)
    with pytest.raises(OutputError, match="none"):
        ledger.backup(tmp_path / "none" / "copy.db")
    assert verify(ledger, journal.study).seq == 5


def test_a_backup_within_a_transaction_has_what_was_committed(
    ledger: Ledger, tmp_path: Path
) -> None:
    journal = new_study(ledger)
    with ledger.transaction():
        journal.append("label", {})
        ledger.backup(tmp_path / "slideloop.db")
    copy = open_ledger(tmp_path, read_only=True)
    assert copy.head(journal.study) == (5, journal.events[4].hash)
    copy.close()


# Import --------------------------------------------------------------------------------------


def exported(ledger: Ledger, path: Path) -> Journal:
    """A study with a request of two labels, as another workspace gets it."""
    journal = new_study(ledger)
    journal.append("label", {"event_id": "both"}, "both")
    journal.append("label", {"event_id": "both"})
    path.write_bytes(b"".join(journal.lines()))
    return read_journal(path)


def test_an_imported_study_is_the_same_byte_for_byte(ledger: Ledger, tmp_path: Path) -> None:
    journal = exported(ledger, tmp_path / "j.ndjson")
    other = open_ledger(tmp_path / "other")
    import_journal(other, journal)
    stored = StoredJournal.open(other, journal.study)
    assert list(stored.lines()) == list(journal.lines())
    assert verify(other, journal.study).noted == (7, journal.events[-1].hash)
    assert stored.append("label", {}).seq == 8
    other.close()


def test_the_event_ids_of_an_imported_study_are_known(ledger: Ledger, tmp_path: Path) -> None:
    journal = Journal(new_id())
    journal.append("study_created", {"id": journal.study, "event_id": "made"})
    journal.append("label", {"event_id": "both"})
    journal.append("label", {"event_id": "both"})
    import_journal(ledger, journal)
    unknown = Answered(None, 0, None)
    assert ledger.answered(journal.study, "both") == unknown
    assert ledger.answered("studies", "made") == unknown
    assert ledger.answered(journal.study, "new") is None
    with pytest.raises(EventIdReusedError):
        StoredJournal.open(ledger, journal.study).append("label", {}, "both")


def test_a_study_is_imported_once(ledger: Ledger, tmp_path: Path) -> None:
    journal = exported(ledger, tmp_path / "j.ndjson")
    with pytest.raises(JournalError, match=f"has the study {journal.study} already"):
        import_journal(ledger, journal)
    assert len(ledger.events(journal.study)) == 7


def test_a_journal_that_would_write_elsewhere_is_not_imported(
    ledger: Ledger, tmp_path: Path
) -> None:
    journal = Journal("../../outside")
    journal.append("study_created", {"id": "../../outside"})
    with pytest.raises(JournalError, match="under a UUID"):
        import_journal(ledger, journal)
    assert not (tmp_path / "outside.txt").exists()


def test_a_journal_whose_chain_does_not_hold_is_not_imported(ledger: Ledger) -> None:
    journal = Journal(new_id())
    journal.append("study_created", {"id": journal.study})
    for number in range(3):
        journal.append("label", {"n": number})
    del journal.events[2]
    for broken in (journal, Journal(new_id())):
        with pytest.raises(BrokenChainError):
            import_journal(ledger, broken)
    assert ledger.study_ids() == []


def test_every_error_has_a_way_out(ledger: Ledger, tmp_path: Path) -> None:
    study = new_study(ledger)
    ledger.close()
    for fail in (
        lambda: study.append("label", {}),
        lambda: open_ledger(tmp_path / "none", read_only=True),
        lambda: ledger.backup(ledger.path),
    ):
        with pytest.raises(SlideloopError) as caught:
            fail()
        assert caught.value.hint
