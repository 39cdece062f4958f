"""`slideloop study` on a workspace: its studies by id, prefix, name or journal file."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.command_line import QUICK, Outcome, left_in, slideloop
from tests.ledgers import APPEND_FOR_EVER, child
from tests.studies_played import loop_on, made_up_store, play_session

from slideloop.studies.journal import Journal, new_id, read_journal
from slideloop.studies.ledger import Ledger, import_journal, open_ledger, verify

WRONG_INPUT, IN_PART = 2, 3


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def ledger(workspace: Path) -> Iterator[Ledger]:
    opened = open_ledger(workspace)
    yield opened
    opened.close()


def played(folder: Path, ledger: Ledger, name: str) -> Journal:
    """Put a study of one session into a workspace."""
    loop = loop_on(made_up_store(folder))
    play_session(loop, 0)
    loop.record("settings", {"name": name})
    import_journal(ledger, loop.journal)
    return loop.journal


@pytest.fixture
def journal(tmp_path: Path, ledger: Ledger) -> Journal:
    return played(tmp_path / "store", ledger, "Zoë's colon")


def study(*arguments: Any, workspace: Path) -> Outcome:
    return slideloop("study", *arguments, "--workspace", workspace)


def refused(outcome: Outcome, *facts: str, code: int = WRONG_INPUT) -> None:
    """One sentence with these facts and the exit code."""
    assert outcome.code == code, outcome.err
    (sentence,) = outcome.complaints()
    assert sentence.startswith("slideloop: ")
    for fact in facts:
        assert fact in sentence


# Which study is meant ------------------------------------------------------------------------


def test_a_study_is_found_by_id_prefix_name_or_file(
    workspace: Path, journal: Journal, tmp_path: Path
) -> None:
    file = tmp_path / "j.ndjson"
    assert study("export", journal.study, "--out", file, workspace=workspace).code == 0
    names = [journal.study, journal.study[:8], journal.study[:13].upper(), "Zoë's colon",
             "Zoe\u0308's colon", file]  # fmt: skip
    for name in names:
        outcome = study("show", name, "--json", workspace=workspace)
        assert outcome.code == 0, outcome.err
        assert json.loads(outcome.out)["id"] == journal.study


def test_a_study_that_is_not_there_is_named(workspace: Path, journal: Journal) -> None:
    for name in (journal.study[:7], new_id(), "Zoë", "no such"):
        refused(study("show", name, workspace=workspace), "neither a study", name)
    refused(study("show", "none.ndjson", workspace=workspace), "none.ndjson cannot be read")
    refused(study("show", "a/b", workspace=workspace), "cannot be read")


def test_a_name_that_two_studies_have_is_refused_with_their_ids(
    workspace: Path, ledger: Ledger, tmp_path: Path
) -> None:
    ids = [played(tmp_path / name, ledger, "same").study for name in "ab"]
    refused(study("show", "same", workspace=workspace), "means 2 studies", *ids)
    assert study("show", ids[0], workspace=workspace).code == 0


def test_an_older_name_does_not_find_a_study(
    workspace: Path, ledger: Ledger, journal: Journal
) -> None:
    with ledger.transaction() as transaction:
        transaction.append(journal.study, "settings", {"name": "new"})
    refused(study("show", "Zoë's colon", workspace=workspace), "neither")
    assert study("show", "new", workspace=workspace).code == 0


# Looking -------------------------------------------------------------------------------------


def test_list_says_nothing_of_a_workspace_that_has_none(workspace: Path) -> None:
    outcome = study("list", workspace=workspace)
    assert outcome.code == 0
    assert "has no studies" in outcome.out
    assert study("list", "--json", workspace=workspace).out == "[]\n"
    assert not workspace.exists()
    for name in ("show", "verify", "export"):
        refused(study(name, new_id(), workspace=workspace), "neither a study")
    refused(study("backup", "--out", workspace / "b", workspace=workspace), "has no studies")


def test_list_has_a_line_for_each_study(
    workspace: Path, ledger: Ledger, journal: Journal, tmp_path: Path
) -> None:
    other = played(tmp_path / "other", ledger, "bad \x1b[2J name")
    first, second = study("list", workspace=workspace).out.splitlines()
    assert first.startswith(journal.study)
    assert first.endswith("Zoë's colon")
    assert second.endswith("bad \\x1b[2J name")
    rows = json.loads(study("list", "--json", workspace=workspace).out)
    assert [row["id"] for row in rows] == [journal.study, other.study]
    assert rows[0]["journal"] == {"seq": len(journal.events), "hash": journal.events[-1].hash}


def test_show_counts_labels_and_gives_a_receipt(workspace: Path, journal: Journal) -> None:
    view = json.loads(study("show", journal.study, "--json", workspace=workspace).out)
    assert (view["name"], view["state"], view["n_trainings"]) == ("Zoë's colon", "session_over", 2)
    assert sum(view["n_labels"].values()) == 8
    text = study("show", journal.study, workspace=workspace).out
    receipt = f"{view['journal']['seq']}:{view['journal']['hash']}"
    assert f"receipt    {receipt}" in text
    assert study("verify", journal.study, "--expect", receipt, workspace=workspace).code == 0


def tampered(workspace: Path, journal: Journal, *statements: str) -> None:
    connection = sqlite3.connect(workspace / "slideloop.db", isolation_level=None)
    for trigger in ("stay", "are_kept"):
        connection.execute(f"DROP TRIGGER events_{trigger}")
    for statement in statements:
        connection.execute(statement, {"study": journal.study})
    connection.close()


def test_a_study_that_cannot_be_read_does_not_hide_the_others(
    workspace: Path, ledger: Ledger, journal: Journal, tmp_path: Path
) -> None:
    other = played(tmp_path / "other", ledger, "other")
    tampered(workspace, journal, "UPDATE events SET hash = 'x' WHERE study = :study AND seq = 3")
    outcome = study("list", "--json", workspace=workspace)
    refused(outcome, "Event 3", journal.study, code=IN_PART)
    assert [row["id"] for row in json.loads(outcome.out)] == [other.study]
    assert study("show", "other", workspace=workspace).code == 0


# Verify --------------------------------------------------------------------------------------


def test_verify_says_that_a_study_holds(workspace: Path, journal: Journal) -> None:
    outcome = study("verify", journal.study, workspace=workspace)
    last = journal.events[-1]
    assert outcome.code == 0
    assert outcome.out == f"The chain holds: {last.seq} events, head {last.seq}:{last.hash}.\n"
    row = json.loads(study("verify", journal.study, "--json", workspace=workspace).out)
    assert row == {"study": journal.study, "holds": True, "seq": last.seq, "hash": last.hash,
                   "has_head_file": True}  # fmt: skip


def test_verify_exits_3_where_it_does_not_hold(workspace: Path, journal: Journal) -> None:
    tampered(workspace, journal, "DELETE FROM events WHERE study = :study AND seq > 5")
    outcome = study("verify", journal.study, workspace=workspace)
    refused(outcome, "cut off: it has 5 events", code=IN_PART)
    outcome = study("verify", journal.study, "--json", workspace=workspace)
    assert outcome.code == IN_PART
    assert json.loads(outcome.out)["holds"] is False


def test_verify_checks_a_receipt(workspace: Path, journal: Journal, tmp_path: Path) -> None:
    file = tmp_path / "j.ndjson"
    file.write_bytes(b"".join(event.line() + b"\n" for event in journal.events[:-1]))
    held = f"4:{journal.events[3].hash}"
    cut = f"{len(journal.events)}:{journal.events[-1].hash}"
    forged = f"4:{'0' * 64}"
    for name in (journal.study, file):
        assert study("verify", name, "--expect", held, workspace=workspace).code == 0
        outcome = study("verify", name, "--expect", forged, workspace=workspace)
        refused(outcome, "Event 4", "was replaced", "receipt", code=IN_PART)
    refused(study("verify", file, "--expect", cut, workspace=workspace), "cut off", code=IN_PART)
    assert "--expect" in study("verify", file, workspace=workspace).out


@pytest.mark.parametrize("receipt", ["5", "5:abc", ":", f"x:{'0' * 64}", f"5:{'G' * 64}", ""])
def test_what_is_no_receipt_is_refused(workspace: Path, journal: Journal, receipt: str) -> None:
    outcome = study("verify", journal.study, "--expect", receipt, workspace=workspace)
    refused(outcome, "SEQ:HASH")


def test_verify_of_a_journal_file_that_was_changed_exits_3(
    workspace: Path, journal: Journal, tmp_path: Path
) -> None:
    lines = [event.line() + b"\n" for event in journal.events]
    file = tmp_path / "changed.ndjson"
    file.write_bytes(b"".join(lines).replace(b'"label":"Tumor"', b'"label":"Stroma"', 1))
    outcome = study("verify", file, workspace=workspace)
    refused(outcome, "changed.ndjson", "was changed", code=IN_PART)
    file.write_bytes(b"".join(lines[:4] + lines[5:]))
    refused(study("verify", file, workspace=workspace), "Line 5", "not follow", code=IN_PART)
    file.write_bytes(b"\x89PNG\r\n")
    refused(study("verify", file, workspace=workspace), "not a line of a journal")


# Copying -------------------------------------------------------------------------------------


def test_export_writes_the_stored_bytes(
    workspace: Path, journal: Journal, ledger: Ledger, tmp_path: Path
) -> None:
    ledger.close()
    file = tmp_path / "j.ndjson"
    row = json.loads(
        study("export", journal.study, "--out", file, "--json", workspace=workspace).out
    )
    assert (row["seq"], row["hash"]) == (len(journal.events), journal.events[-1].hash)
    assert file.read_bytes() == b"".join(journal.lines())
    command = [sys.executable, "-m", "slideloop.cli.main", "study", "export", "Zoë's colon",
               "--workspace", str(workspace)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == file.read_bytes()


def test_export_refuses_to_mix_the_journal_with_json(workspace: Path, journal: Journal) -> None:
    refused(study("export", journal.study, "--json", workspace=workspace), "--out FILE")


def test_an_export_comes_back_by_import(workspace: Path, journal: Journal, tmp_path: Path) -> None:
    file, there = tmp_path / "j.ndjson", tmp_path / "there"
    assert study("export", journal.study, "--out", file, workspace=workspace).code == 0
    outcome = study("import", file, workspace=there)
    assert outcome.code == 0, outcome.err
    assert f"Imported the study {journal.study}" in outcome.out
    assert read_journal(file).events == journal.events
    again = tmp_path / "again.ndjson"
    assert study("export", "Zoë's colon", "--out", again, workspace=there).code == 0
    assert again.read_bytes() == file.read_bytes()
    refused(study("import", file, workspace=there), "already", journal.study)


def test_an_import_that_lacks_noted_events_is_said_not_to_hold(
    workspace: Path, journal: Journal, ledger: Ledger, tmp_path: Path
) -> None:
    file = tmp_path / "short.ndjson"
    file.write_bytes(b"".join(event.line() + b"\n" for event in journal.events[:-1]))
    # The database was lost; what notes the heads was not.
    ledger.close()
    (workspace / "slideloop.db").unlink()
    outcome = study("import", file, "--json", workspace=workspace)
    refused(outcome, "cut off", code=IN_PART)
    assert json.loads(outcome.out)["holds"] is False


@pytest.mark.parametrize("content", [b"", b"{}\n", b"[" * 100_000, b"\xff\n"])
def test_what_is_no_journal_is_not_imported(
    workspace: Path, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "odd.ndjson"
    file.write_bytes(content)
    refused(study("import", file, workspace=workspace), "odd.ndjson")
    assert left_in(workspace) == []


def test_a_backup_is_a_workspace_s_database(
    workspace: Path, journal: Journal, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    outcome = study("backup", "--out", there / "slideloop.db", "--json", workspace=workspace)
    assert outcome.code == 0, outcome.err
    head = {"seq": len(journal.events), "hash": journal.events[-1].hash}
    assert json.loads(outcome.out)["studies"] == {journal.study: head}
    outcome = study("verify", journal.study, workspace=there)
    assert outcome.code == 0, outcome.err
    assert "--expect" in outcome.out


def test_a_backup_that_cannot_be_written_leaves_nothing(
    workspace: Path, journal: Journal, tmp_path: Path
) -> None:
    out = tmp_path / "none" / "copy.db"
    refused(study("backup", "--out", out, workspace=workspace), "copy.db")
    database = workspace / "slideloop.db"
    refused(study("backup", "--out", database, workspace=workspace), "database itself")
    assert study("verify", journal.study, workspace=workspace).code == 0


def test_beside_a_running_server_all_but_import_work(workspace: Path, tmp_path: Path) -> None:
    id_ = new_id()
    server = child(
        APPEND_FOR_EVER.replace(
            '{"id": study}',
            '{"id": study, "name": "live", "settings": {"classes": ["a", "b"]}, "slides": [],'
            ' "search_slides": []}',
        ).replace('"label", {"n"', '"other", {"n"'),
        workspace,
        id_,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline(), server.communicate()[1]
        for arguments in (
            ("list",),
            ("show", "live"),
            ("verify", id_),
            ("export", "live", "--out", tmp_path / "j.ndjson"),
            ("backup", "--out", tmp_path / "copy.db"),
        ):
            outcome = study(*arguments, workspace=workspace)
            assert outcome.code == 0, outcome.err
        other = Journal(new_id())
        other.append("study_created", {"id": other.study})
        (tmp_path / "other.ndjson").write_bytes(b"".join(other.lines()))
        outcome = study("import", tmp_path / "other.ndjson", workspace=workspace)
        refused(outcome, "in use by another slideloop", str(workspace))
        assert server.poll() is None
    finally:
        server.kill()
        server.communicate()
    assert study("import", tmp_path / "other.ndjson", workspace=workspace).code == 0
    reopened = open_ledger(workspace, read_only=True)
    assert verify(reopened, id_).seq > len(read_journal(tmp_path / "j.ndjson").events) > 0
    reopened.close()


# With slides ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated(
    tmp_path_factory: pytest.TempPathFactory, small_slides: Path, small_workspace: Path
) -> Path:
    """What one `simulate` leaves; its study is in the workspace too, as `small`."""
    out = tmp_path_factory.mktemp("simulated")
    outcome = slideloop(
        "simulate", small_slides / "small.tif", "--truth", small_slides / "small.geojson",
        "--positive", "Tumor", "--strategy", "cnfp", "--queries", 2, "--rounds", 2, "--k", 4,
        "--seeds", 1, "--workspace", small_workspace, "--out", out, *QUICK,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    outcome = study("import", out / "study-cnfp-0.ndjson", workspace=small_workspace)
    assert outcome.code == 0, outcome.err
    return out


@pytest.mark.slow
def test_a_study_of_the_workspace_replays_exactly(simulated: Path, small_workspace: Path) -> None:
    id_ = read_journal(simulated / "study-cnfp-0.ndjson").study
    outcome = slideloop("study", "replay", id_[:8], "--workspace", small_workspace, *QUICK)
    assert (outcome.code, outcome.err) == (0, outcome.err)
    assert outcome.out.endswith("trainings came out the same.\n")


@pytest.mark.slow
def test_a_study_of_the_workspace_predicts(
    simulated: Path, small_slides: Path, small_workspace: Path, tmp_path: Path
) -> None:
    id_ = read_journal(simulated / "study-cnfp-0.ndjson").study
    outcome = slideloop(
        "predict", id_, small_slides / "small.tif", small_slides / "other.tif", "--format", "png",
        "--workspace", small_workspace, "--out", tmp_path, *QUICK, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    own, other = json.loads(outcome.out)
    assert Path(own["file"]).read_bytes() == (simulated / "mask-cnfp-0.png").read_bytes()
    assert other["n_positive"] > 0


@pytest.mark.slow
def test_a_slide_that_the_workspace_saw_elsewhere_is_found_there(
    simulated: Path, small_slides: Path, small_workspace: Path, tmp_path: Path
) -> None:
    journal = read_journal(simulated / "study-cnfp-0.ndjson")
    record = journal.events[0].data["slides"][0]
    moved = tmp_path / "moved.tif"
    original = Path(record["path"])
    original.rename(moved)
    ledger = open_ledger(small_workspace)
    try:
        outcome = slideloop(
            "study", "replay", journal.study, "--workspace", small_workspace, *QUICK
        )
        refused(outcome, original.name)
        ledger.put("slide", record["id"], {"path": str(moved)})
        outcome = slideloop(
            "study", "replay", journal.study, "--workspace", small_workspace, *QUICK
        )
        assert outcome.code == 0, outcome.err
    finally:
        moved.rename(original)
        ledger.put("slide", record["id"], {"path": str(original)})
        ledger.close()
