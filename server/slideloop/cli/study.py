"""`slideloop study`: what can be said of the studies of a workspace, and done with them.

All but `import` work while the server runs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slideloop.cli.common import common_options, json_option, print_json, progress, say
from slideloop.cli.main import IN_PART
from slideloop.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from slideloop.settings import Settings
    from slideloop.studies.journal import Journal

_RECEIPT = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


def _workspace(_context: click.Context, _option: click.Parameter, value: Path | None) -> Path:
    return load_settings(workspace=value).workspace


def _receipt(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> tuple[int, str] | None:
    if value is None:
        return None
    found = _RECEIPT.fullmatch(value)
    if not found:
        raise click.BadParameter("Not a receipt of the form SEQ:HASH, with 64 hex digits.")
    return int(found[1]), found[2]


_STUDY = click.argument("study")
_WORKSPACE = click.option(
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False),
    callback=_workspace,
    help="Folder of studies and features. Default: the platform's data folder.",
)


@click.group("study")
def command() -> None:
    """List studies; show, verify, replay, export, import or back them up.

    STUDY is a study of the workspace, by its id, the first eight or more characters of it, or its
    name; or a .ndjson journal that `study export` or `simulate` wrote.
    """


# Looking -------------------------------------------------------------------------------------


@command.command("list")
@_WORKSPACE
@json_option
def list_(workspace: Path, as_json: bool) -> None:
    """List the studies of the workspace, in the order in which they were made.

    Exit 3 if one of them cannot be read; the others are listed all the same.
    """
    from slideloop.cli.study_names import look_into
    from slideloop.cli.study_view import print_row, view_of
    from slideloop.errors import JournalError

    rows: list[dict[str, Any]] = []
    failures: list[JournalError] = []
    ledger = look_into(workspace)
    for study in ledger.study_ids() if ledger else []:
        try:
            assert ledger is not None
            rows.append(view_of(ledger.events(study)))
        except JournalError as err:
            failures.append(err)
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            print_row(row)
        if not rows and not failures:
            click.echo(f"The workspace {workspace} has no studies.")
    for err in failures:
        say(f"slideloop: {err}")
    if failures:
        raise click.exceptions.Exit(IN_PART)


@command.command("show")
@_STUDY
@_WORKSPACE
@json_option
def show(study: str, workspace: Path, as_json: bool) -> None:
    """Show what a study is about, how far it is, and its newest event's receipt."""
    from slideloop.cli.study_names import find_study
    from slideloop.cli.study_view import print_view, view_of

    view = view_of(find_study(study, workspace).journal.events)
    if as_json:
        print_json(view)
    else:
        print_view(view)


# Checking ------------------------------------------------------------------------------------


@command.command("verify")
@_STUDY
@_WORKSPACE
@click.option(
    "--expect",
    callback=_receipt,
    metavar="SEQ:HASH",
    help="Receipt that must be in the chain: what `verify` said before, or an answer's journal.",
)
@json_option
def verify(study: str, workspace: Path, expect: tuple[int, str] | None, as_json: bool) -> None:
    """Check the chain of hashes: no event was changed, removed, added or moved.

    A chain cannot see its own tail cut off: a study of the workspace is compared with its head
    file, and any journal with the receipt given. Exit 3 if it does not hold.
    """
    from slideloop.studies.journal import BrokenChainError

    _report(lambda: _verified(study, workspace, expect), as_json, BrokenChainError)


def _verified(
    study: str, workspace: Path, expect: tuple[int, str] | None
) -> tuple[dict[str, Any], str]:
    """Return what holds, and how far that reaches."""
    from slideloop.cli.study_names import as_journal_file, find_id
    from slideloop.studies.journal import read_journal
    from slideloop.studies.verify import require_head
    from slideloop.studies.verify import verify as verify_stored

    path = as_journal_file(study)
    if path is None:
        ledger, id_ = find_id(study, workspace)
        verdict = verify_stored(ledger, id_, expect)
        row = {"study": id_, "holds": True, "seq": verdict.seq, "hash": verdict.hash,
               "has_head_file": verdict.noted is not None}  # fmt: skip
        is_bounded = verdict.noted is not None or expect is not None
    else:
        journal = read_journal(path)
        last = journal.events[-1]
        if expect is not None:
            require_head(journal.study, journal.events, expect, "the receipt")
        row = {"study": journal.study, "holds": True, "seq": last.seq, "hash": last.hash}
        is_bounded = expect is not None
    unseen = "" if is_bounded else " A tail cut off could be seen by a receipt only (--expect)."
    return row, f"The chain holds: {row['seq']:,} events, head {row['seq']}:{row['hash']}.{unseen}"


def _report(
    check: Callable[[], tuple[dict[str, Any], str]], as_json: bool, fails: type[Exception]
) -> None:
    """Print a verdict; one that is against it is the answer, not an error."""
    try:
        row, sentence = check()
    except fails as err:
        if as_json:
            print_json({"holds": False, "problem": str(err)})
        say(f"slideloop: {err}")
        raise click.exceptions.Exit(IN_PART) from err
    if as_json:
        print_json(row)
    else:
        click.echo(sentence)


@command.command("replay")
@_STUDY
@common_options
@json_option
def replay(settings: Settings, study: str, as_json: bool) -> None:
    """Compute every round again and say whether the same patches came out, to the last bit.

    Exit 3 if something differs.
    """
    import torch

    from slideloop.cli.studies import open_study
    from slideloop.cli.study_names import find_study
    from slideloop.features.environment import environment
    from slideloop.studies.replay import replay as play_again

    opened = open_study(find_study(study, settings.workspace), settings)
    made = opened.created["environment"]
    torch.set_num_threads(made["n_threads"])
    slides = [opened.slide(source) for source in opened.sources]
    now = environment(opened.encoder, slides[0].store.identity["normalisation"])
    changed = sorted(key for key in made if made[key] != now.get(key))
    with progress("Playing again", "events") as update:
        found = play_again(opened.journal, opened.database(slides), opened.engine, slides, update)
    row = {
        "study": opened.journal.study,
        "n_rounds": found.n_rounds,
        "n_trainings": found.n_trainings,
        "comparable": not changed,
        "changed": changed,
        "differences": list(found.differences),
    }
    if as_json:
        print_json(row)
    else:
        if changed:
            say(f"Not comparable to the last bit: {', '.join(changed)} differ from the study's.")
        for difference in found.differences:
            click.echo(difference)
        verdict = "came out the same" if not found.differences else "did not all come out the same"
        click.echo(f"{found.n_rounds} rounds and {found.n_trainings} trainings {verdict}.")
    if found.differences:
        raise click.exceptions.Exit(IN_PART)


# Copying -------------------------------------------------------------------------------------


@command.command("export")
@_STUDY
@_WORKSPACE
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Default: standard output.")  # fmt: skip
@json_option
def export(study: str, workspace: Path, out: Path | None, as_json: bool) -> None:
    """Write a study's journal as NDJSON, an event a line.

    With --json, --out is needed: the journal itself is not mixed with the result.
    """
    from slideloop.cli.study_names import find_study

    if out is None and as_json:
        raise click.UsageError("--json needs --out FILE.", click.get_current_context())
    journal = find_study(study, workspace).journal
    if out is None:
        # In bytes: a terminal's encoding or line breaks would change what is hashed.
        sys.stdout.buffer.writelines(journal.lines())
        return
    _write(journal, out)
    last = journal.events[-1]
    row = {"study": journal.study, "file": str(out), "seq": last.seq, "hash": last.hash}
    if as_json:
        print_json(row)
    else:
        click.echo(f"{out}: {last.seq:,} events, receipt {last.seq}:{last.hash}.")


def _write(journal: Journal, out: Path) -> None:
    from slideloop.files import whole_file

    with whole_file(out) as unfinished, unfinished.open("wb") as file:
        file.writelines(journal.lines())


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_WORKSPACE
@json_option
def import_(file: Path, workspace: Path, as_json: bool) -> None:
    """Take the journal FILE into the workspace, as a study to go on with.

    The server must not run on the workspace. A study that is there already is refused. Exit 3 if
    the workspace's own head file says that the journal is not all of it.
    """
    from slideloop.studies.journal import BrokenChainError, read_journal
    from slideloop.studies.ledger import (
        hold_workspace,
        import_journal,
        open_ledger,
        require_local_drive,
    )
    from slideloop.studies.verify import verify as verify_stored

    journal = read_journal(file)
    require_local_drive(workspace)
    with hold_workspace(workspace):
        ledger = open_ledger(workspace)
        click.get_current_context().call_on_close(ledger.close)
        import_journal(ledger, journal)

        def check() -> tuple[dict[str, Any], str]:
            verdict = verify_stored(ledger, journal.study)
            row = {"study": verdict.study, "holds": True, "seq": verdict.seq, "hash": verdict.hash}
            return row, f"Imported the study {verdict.study}: {verdict.seq:,} events."

        _report(check, as_json, BrokenChainError)


@command.command("backup")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False),
              metavar="FILE", help="Replaced if it exists, when the copy is complete.")  # fmt: skip
@_WORKSPACE
@json_option
def backup(out: Path, workspace: Path, as_json: bool) -> None:
    """Copy all studies of the workspace to one file, also while the server runs.

    To put it back, stop the server and copy FILE to slideloop.db in an empty workspace folder.
    The receipts printed are of events that the copy has.
    """
    from slideloop.cli.study_names import require_ledger

    ledger = require_ledger(workspace)
    # Before the copy: each of these heads is in it.
    heads = {study: ledger.head(study) for study in ledger.study_ids()}
    receipts = {study: {"seq": head[0], "hash": head[1]} for study, head in heads.items() if head}
    ledger.backup(out)
    if as_json:
        print_json({"file": str(out), "studies": receipts})
        return
    click.echo(f"{out}: {len(receipts)} studies, {out.stat().st_size:,} bytes.")
    for study, head in receipts.items():
        click.echo(f"{study} {head['seq']}:{head['hash']}")
