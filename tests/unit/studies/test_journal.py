"""The chain: what was changed in a journal is found."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slideloop.errors import InvalidInputError, JournalError
from slideloop.studies import journal as journal_module
from slideloop.studies.journal import (
    SCHEMA,
    BrokenChainError,
    Journal,
    first_break,
    new_id,
    read_journal,
)

STUDY = "6f1c4b5e-0a1b-4c2d-8e3f-5a6b7c8d9e0f"


def journal_of(*more: tuple[str, dict[str, Any]]) -> Journal:
    journal = Journal(STUDY)
    journal.append("study_created", {"id": STUDY, "name": "Zoë \u2028 \n second"})
    for type_, data in more:
        journal.append(type_, data)
    return journal


def sample() -> Journal:
    return journal_of(
        ("query", {"label": "Tumor", "rectangle": [0.5, 1, 2, 3]}),
        ("label", {"patch": "a", "label": "Tumor", "hash": "not that one"}),
        ("label", {"patch": "b", "label": "Normal", "nested": {"x": 1, "hash": "nor this"}}),
        ("training_started", {"seed": 2**47, "n": 2}),
    )


def written(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def lines_of(journal: Journal) -> list[bytes]:
    return [event.line() for event in journal.events]


# Form ----------------------------------------------------------------------------------------


def test_a_journal_survives_writing_and_reading(tmp_path: Path) -> None:
    journal = sample()
    found = read_journal(written(tmp_path / "j.ndjson", lines_of(journal)))
    assert found.study == STUDY
    assert found.events == journal.events


def test_a_line_is_its_hashed_bytes_with_the_hash_put_in(tmp_path: Path) -> None:
    journal = sample()
    previous = STUDY
    for number, line in enumerate(journal.lines(), 1):
        row = json.loads(line)
        assert list(row) == ["seq", "time", "type", "schema", "data", "prev", "hash"]
        assert (row["seq"], row["schema"], row["prev"]) == (number, SCHEMA, previous)
        stored = line.rstrip(b"\n").replace(f',"hash":"{row["hash"]}"}}'.encode(), b"}")
        assert hashlib.sha256(stored).hexdigest() == row["hash"]
        previous = row["hash"]


def test_times_are_utc_and_do_not_run_backwards() -> None:
    times = [event.time for event in sample().events]
    assert times == sorted(times)
    assert all(time.endswith("+00:00") for time in times)


def test_a_journal_goes_on_where_it_was_read(tmp_path: Path) -> None:
    found = read_journal(written(tmp_path / "j.ndjson", lines_of(sample())))
    event = found.append("label", {"patch": "c"})
    assert event.seq == 6
    assert len(read_journal(written(tmp_path / "k.ndjson", lines_of(found))).events) == 6


def test_nan_does_not_enter_a_journal() -> None:
    journal = sample()
    with pytest.raises(ValueError, match="JSON"):
        journal.append("label", {"distance": float("nan")})
    assert len(journal.events) == 5


text = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(text, json_values, max_size=4), max_size=5))
def test_any_data_survive(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    journal = journal_of(*(("label", row) for row in rows))
    assert read_journal(written(tmp_path / "j", lines_of(journal))).events == journal.events


# Tampering -----------------------------------------------------------------------------------


def test_a_changed_value_is_found_in_its_line(tmp_path: Path) -> None:
    lines = lines_of(sample())
    lines[2] = lines[2].replace(b"Tumor", b"Norma")
    with pytest.raises(JournalError, match=r"Line 3 .* was changed: its hash differs"):
        read_journal(written(tmp_path / "j", lines))


def rehashed(line: bytes, **changes: Any) -> bytes:
    """A changed line whose own hash was made to fit."""
    row = {**json.loads(line), **changes}
    del row["hash"]
    stored = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
    return stored[:-1] + f',"hash":"{hashlib.sha256(stored).hexdigest()}"}}'.encode()


def test_a_change_with_a_new_hash_breaks_the_line_after_it(tmp_path: Path) -> None:
    lines = lines_of(sample())
    lines[2] = rehashed(lines[2], data={"patch": "a", "label": "Normal"})
    with pytest.raises(JournalError, match=r"Line 4 .* does not follow the one before it"):
        read_journal(written(tmp_path / "j", lines))


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_removed_line_is_found(tmp_path: Path, number: int) -> None:
    lines = lines_of(sample())
    del lines[number]
    with pytest.raises(JournalError):
        read_journal(written(tmp_path / "j", lines))


def test_a_moved_line_is_found(tmp_path: Path) -> None:
    lines = lines_of(sample())
    lines[2], lines[3] = lines[3], lines[2]
    with pytest.raises(JournalError, match="Line 3"):
        read_journal(written(tmp_path / "j", lines))


def test_a_doubled_line_is_found(tmp_path: Path) -> None:
    lines = lines_of(sample())
    lines.insert(2, lines[2])
    with pytest.raises(JournalError, match="Line 4"):
        read_journal(written(tmp_path / "j", lines))


def test_a_line_of_another_study_is_found(tmp_path: Path) -> None:
    other = Journal(new_id())
    other.append("study_created", {"id": other.study})
    other.append("label", {"patch": "a"})
    lines = [*lines_of(sample()), lines_of(other)[1]]
    with pytest.raises(JournalError, match="Line 6"):
        read_journal(written(tmp_path / "j", lines))


@pytest.mark.parametrize(
    "addition",
    [
        b'"data":{"patch":"a","label":"Normal"}',
        b'"type":"training_done"',
        b'"more":1',
        b'"hash":"0"',
    ],
)
def test_what_is_written_after_the_hash_is_found(tmp_path: Path, addition: bytes) -> None:
    # JSON lets the last of two equal names count: the hashed bytes are untouched here.
    lines = lines_of(sample())
    lines[2] = lines[2][:-1] + b"," + addition + b"}"
    with pytest.raises(JournalError, match="Line 3"):
        read_journal(written(tmp_path / "j", lines))


def test_spaces_in_a_line_are_a_change(tmp_path: Path) -> None:
    lines = lines_of(sample())
    lines[2] += b" "
    with pytest.raises(JournalError, match="Line 3"):
        read_journal(written(tmp_path / "j", lines))


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b"null", b"no JSON", b'{"hash":"x"}', b"\xff", b'[1,"hash":"']
)
def test_what_is_no_line_of_a_journal_is_found(tmp_path: Path, line: bytes) -> None:
    lines = [*lines_of(sample()), line, lines_of(sample())[0]]
    with pytest.raises(JournalError, match=r"Line 6 .* is not a line of a journal"):
        read_journal(written(tmp_path / "j", lines))


@pytest.mark.parametrize(
    "changes",
    [{"data": None}, {"data": []}, {"data": "x"}, {"schema": "1"}, {"seq": "one"}, {"seq": None}],
)
def test_a_line_of_wrong_types_is_found(tmp_path: Path, changes: dict[str, Any]) -> None:
    line = rehashed(lines_of(journal_of())[0], **changes)
    with pytest.raises(JournalError, match="Line 1"):
        read_journal(written(tmp_path / "j", [line]))


def test_a_newer_form_is_refused_with_the_way_out(tmp_path: Path) -> None:
    lines = lines_of(journal_of(("label", {"patch": "a"})))
    lines[1] = rehashed(lines[1], schema=SCHEMA + 1)
    with pytest.raises(JournalError, match="newer slideloop") as caught:
        read_journal(written(tmp_path / "j", lines))
    assert caught.value.hint == "Update slideloop."


def test_a_journal_must_begin_with_its_study(tmp_path: Path) -> None:
    journal = Journal(STUDY)
    journal.append("label", {"id": STUDY})
    with pytest.raises(JournalError, match="does not create the study"):
        read_journal(written(tmp_path / "j", lines_of(journal)))


def test_a_region_of_the_first_form_is_read_as_training_on_nothing_later(tmp_path: Path) -> None:
    first_form = {"slide": 0, "label": "Tumor", "places": [3], "cells": [[1, 2]], "train": [3]}
    [*others, line] = lines_of(journal_of(("label", {}), ("region", first_form)))
    found = read_journal(written(tmp_path / "j", [*others, rehashed(line, schema=1)]))
    assert found.events[-1].data == {**first_form, "train_cells": []}
    assert found.events[-2].data == {}


def test_an_empty_or_missing_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"none\.ndjson cannot be read"):
        read_journal(tmp_path / "none.ndjson")
    with pytest.raises(JournalError, match="is empty"):
        read_journal(written(tmp_path / "empty.ndjson", []))


# Forms of data -------------------------------------------------------------------------------


def test_older_data_come_in_the_newest_form_and_stay_as_they_were_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = lines_of(sample())
    monkeypatch.setattr(journal_module, "SCHEMA", SCHEMA + 1)
    monkeypatch.setitem(
        journal_module._UPCASTS, SCHEMA, lambda type_, data: {**data, "was": [type_, SCHEMA]}
    )
    found = read_journal(written(tmp_path / "j", lines))
    assert found.events[2].data["was"] == ["label", SCHEMA]
    assert found.events[0].data["id"] == STUDY
    assert lines_of(found) == lines
    newest = found.append("label", {"patch": "c"})
    assert json.loads(newest.stored)["schema"] == SCHEMA + 1


def test_the_event_id_of_a_request_is_no_part_of_a_line() -> None:
    journal = sample()
    event = journal.append("label", {"patch": "c"}, "some-id")
    assert b"some-id" not in event.line()


def test_half_a_character_does_not_enter_a_journal() -> None:
    journal = sample()
    with pytest.raises(InvalidInputError, match="surrogate"):
        journal.append("label", {"label": "\udfff"})
    assert len(journal.events) == 5


def test_a_chain_can_be_checked_from_any_event_on() -> None:
    events = sample().events
    assert first_break(STUDY, events) is None
    assert first_break(STUDY, events[3:], events[2]) is None
    assert first_break(STUDY, [], None) is None
    assert first_break(STUDY, events[3:], events[1]) == (0, "does not follow the one before it")
    assert first_break(new_id(), events) == (0, "does not follow the one before it")


def test_a_line_nested_without_end_is_no_line(tmp_path: Path) -> None:
    for first in ([], lines_of(sample())):
        deep = b"[" * 100_000 + b',"hash":"x"}'
        with pytest.raises(JournalError, match="is not a line of a journal"):
            read_journal(written(tmp_path / "j", [*first, deep]))


def test_a_file_of_something_else_is_not_called_a_broken_chain(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="Line 1") as caught:
        read_journal(written(tmp_path / "j", [b"no journal"]))
    assert not isinstance(caught.value, BrokenChainError)
