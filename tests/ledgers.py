"""Small ledgers to test with, and what outsiders do to them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from typing import Any

from slideloop.studies.journal import new_id
from slideloop.studies.ledger import Ledger, StoredJournal

APPEND_FOR_EVER = """
import sys
from pathlib import Path
from slideloop.studies.ledger import StoredJournal, hold_workspace, open_ledger
workspace, study = Path(sys.argv[1]), sys.argv[2]
with hold_workspace(workspace):
    ledger = open_ledger(workspace)
    journal = StoredJournal.open(ledger, study)
    if not journal.events:
        journal.append("study_created", {"id": study})
    while True:
        number = len(journal.events)
        with ledger.transaction() as transaction:
            first = journal.append("label", {"n": number}, f"{number}")
            second = journal.append("label", {"n": number, "text": "x" * 2000})
            transaction.remember(study, f"{number}", "body", 200, {"seq": second.seq})
            ledger.put("job", "newest", {"seq": second.seq})
        print(second.seq, second.hash, flush=True)
"""
"""Two labels, their answer and a document at a time, acknowledged on stdout."""


def child(code: str, *arguments: Any) -> subprocess.Popen[str]:
    """Start a second Python process."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def new_study(ledger: Ledger, n_labels: int = 4) -> StoredJournal:
    """A study of `1 + n_labels` events."""
    journal = StoredJournal.open(ledger, new_id())
    journal.append("study_created", {"id": journal.study, "name": "Zoë"}, "made")
    for number in range(n_labels):
        journal.append("label", {"patch": f"p{number}", "label": "Tumor"}, f"label-{number}")
    return journal


def by_hand(ledger: Ledger, *statements: str, **values: Any) -> None:
    """Change the database as somebody with a SQLite shell would."""
    connection = sqlite3.connect(ledger.path, isolation_level=None)
    try:
        for statement in statements:
            connection.execute(statement, values)
    finally:
        connection.close()


def without_triggers(ledger: Ledger, *statements: str, **values: Any) -> None:
    """Change the database as somebody who wants to would."""
    by_hand(
        ledger,
        "DROP TRIGGER IF EXISTS events_stay",
        "DROP TRIGGER IF EXISTS events_are_kept",
        "DROP TRIGGER IF EXISTS events_are_appended",
    )
    by_hand(ledger, *statements, **values)
