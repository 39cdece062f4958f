"""Labels that cannot be lost: server away, answers lost, another token, QuPath killed, refusals."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.groovy.conftest import CLASSES, Site
from tests.groovy.driven import Driven, ProblemError
from tests.groovy.served import Between

TUMOUR, NORMAL = CLASSES
TOKEN, OTHER_TOKEN = "first-token-of-all", "second-token-of-all"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The outbox of `review`."""
    return tmp_path / "outbox"


def test_a_label_is_on_the_disk_when_it_is_said_to_wait(
    review: Driven, site: Site, folder: Path
) -> None:
    review.open(site.study(k=3))
    site.served.stop()
    (patch,) = review.label(TUMOUR)
    review.wait(saved={patch: "waiting"})
    lines = [json.loads(line) for line in (folder / "spool.jsonl").read_text("utf-8").splitlines()]
    added = [line["add"] for line in lines if "add" in line]
    assert (added[-1]["body"]["label"], added[-1]["about"]["patch"]) == (TUMOUR, patch)


def test_a_server_that_is_down_at_the_start_is_waited_for(review: Driven, site: Site) -> None:
    study = site.study()
    site.served.stop()
    view = review.open(study, state="loading") and review.wait(lambda view: view["problem"])
    assert view["problem"]["code"] == "unreachable"
    assert "does not answer" in view["problem"]["detail"]
    assert "slideloop serve" in view["problem"]["hint"]
    site.served.start()
    assert review.wait(state="labelling")["problem"] is None


def test_a_server_that_comes_back_under_another_token_gets_every_label(
    review: Driven, site: Site, folder: Path
) -> None:
    study = site.study(rounds=2, k=4)
    review.do("end")
    site.served.start(TOKEN)
    review.connect(site.served.url, folder, TOKEN)
    review.open(study)
    patches = review.label(TUMOUR)
    review.wait(waiting=0)
    site.served.stop()
    patches += review.label(NORMAL, TUMOUR)
    view = review.wait(waiting=2, state="labelling")
    view = review.wait(lambda view: view["problem"])
    assert (
        view["note"] == "2 changes are safe on this machine, and sent when the server takes them."
    )
    assert set(view["saved"].values()) == {"saved", "waiting"}
    site.served.start(OTHER_TOKEN)
    view = review.wait(lambda view: view["problem"] and view["problem"]["code"] == "unauthorized")
    said = json.dumps([review.views, review.events, review.do("text")])
    assert TOKEN not in said
    assert view["waiting"] == 2
    patches += review.label(NORMAL)
    review.wait(state="training", waiting=3)
    review.do("token", token=OTHER_TOKEN)
    view = review.wait(lambda view: view["round"] == 2, state="labelling", waiting=0)
    assert view["problem"] is None
    answers = (TUMOUR, NORMAL, TUMOUR, NORMAL)
    assert site.served.api.labels(study) == [*zip(patches, answers, strict=True)]


@pytest.mark.parametrize(
    "token", ["wrong-token-wrong-token", "not\na token", "späte-tüte-späte-tüte"]
)
def test_a_wrong_token_is_said_and_not_repeated(
    review: Driven, site: Site, folder: Path, token: str
) -> None:
    study = site.study()
    review.do("end")
    site.served.start(TOKEN)
    review.connect(site.served.url, folder, token)
    review.call("open", study)
    view = review.wait(lambda view: view["problem"])
    assert view["problem"]["status"] == 401
    assert "Connect" in view["problem"]["hint"]
    assert token not in json.dumps(view, ensure_ascii=False)


def test_a_label_whose_answer_is_lost_counts_once(review: Driven, site: Site, folder: Path) -> None:
    study = site.study(rounds=1, k=3)
    between = Between(site.served.port)
    review.do("end")
    review.connect(f"http://127.0.0.1:{between.port}", folder)
    review.open(study)
    between.n_to_lose = 2
    answers = (TUMOUR, NORMAL, TUMOUR)
    patches = review.label(*answers)
    review.wait(state="session_over", waiting=0)
    between.close()
    assert between.n_lost == 2
    assert site.served.api.labels(study) == [*zip(patches, answers, strict=True)]


def test_an_undo_whose_answer_is_lost_takes_back_one_label(
    review: Driven, site: Site, folder: Path
) -> None:
    study = site.study(k=3)
    between = Between(site.served.port)
    review.do("end")
    review.connect(f"http://127.0.0.1:{between.port}", folder)
    review.open(study)
    first, _ = review.label(TUMOUR, NORMAL)
    review.wait(waiting=0)
    between.n_to_lose = 2
    review.call("back")
    review.wait(waiting=0, labels={first: TUMOUR})
    between.close()
    assert between.n_lost == 2
    assert len(site.served.api.events(study, "undo")) == 1


def test_labels_of_a_killed_qupath_arrive_once(
    start_jvm: Callable[..., Driven], site: Site, folder: Path
) -> None:
    study = site.study(rounds=2, k=4)
    killed = start_jvm()
    killed.connect(site.served.url, folder)
    killed.open(study)
    patches = killed.label(TUMOUR)
    killed.wait(waiting=0)
    site.served.stop()
    patches += killed.label(NORMAL, TUMOUR, NORMAL)
    last = patches[-1]
    killed.wait(lambda view: view["saved"].get(last) == "waiting", waiting=3)
    killed.kill()
    site.served.start()
    again = start_jvm()
    again.connect(site.served.url, folder)
    again.open(study, round=2, waiting=0)
    answers = (TUMOUR, NORMAL, TUMOUR, NORMAL)
    assert site.served.api.labels(study) == [*zip(patches, answers, strict=True)]


def test_what_was_left_of_another_study_is_sent(review: Driven, site: Site, folder: Path) -> None:
    study = site.study(k=3)
    review.open(study)
    site.served.stop()
    (patch,) = review.label(TUMOUR)
    review.wait(saved={patch: "waiting"})
    review.do("end")
    site.served.start()
    other = site.study(k=3)
    review.connect(site.served.url, folder)
    review.open(other)
    review.wait(waiting=0)
    assert site.served.api.labels(study) == [(patch, TUMOUR)]


def _refused(review: Driven, site: Site) -> tuple[str, str]:
    """Have a label refused, since another client closed its round; return study and patch."""
    study = site.study(k=3)
    review.open(study)
    site.query(study)
    (patch,) = review.label(TUMOUR)
    review.wait(lambda view: view["refused"] and view["session"] == 2, waiting=0)
    return study, patch


def test_a_refused_label_is_kept_until_somebody_decides(
    review: Driven, site: Site, folder: Path
) -> None:
    study, patch = _refused(review, site)
    review.do("end")
    review.connect(site.served.url, folder)
    (refused,) = review.open(study)["refused"]
    assert refused["code"] == "stale_round"
    assert refused["text"] == f"{TUMOUR}: patch 1 of round 1, session 1"
    review.call("retry", refused["id"])
    review.wait(waiting=0, refused=[refused])
    review.call("drop", refused["id"])
    review.wait(refused=[])
    review.do("end")
    review.connect(site.served.url, folder)
    assert review.open(study)["refused"] == []
    assert patch not in [labelled for labelled, _ in site.served.api.labels(study)]


def test_labels_behind_a_refused_one_go_on(review: Driven, site: Site) -> None:
    study, _ = _refused(review, site)
    view = review.wait(state="labelling", labels={})
    (patch,) = review.label(NORMAL)
    view = review.wait(waiting=0, labels={patch: NORMAL})
    assert view["saved"] == {patch: "saved"}
    assert len(view["refused"]) == 1
    assert site.served.api.labels(study) == [(patch, NORMAL)]


def test_a_label_that_the_round_does_not_want_is_taken_off_the_screen(
    review: Driven, site: Site
) -> None:
    study = site.study(k=2)
    view = review.open(study)
    site.served.api("PATCH", f"/studies/{study}", add_classes=["Fett"])
    body = {"label": "Knorpel", "round_id": view["round_id"]}
    path = f"/studies/{study}/labels/{view['patch']}"
    about = {"patch": view["patch"], "text": "Knorpel"}
    review.do("append", entry={"method": "PUT", "path": path, "body": body, "about": about})
    found = review.wait(lambda view: view["refused"], waiting=0)
    assert found["refused"][0]["code"] == "class_refused"
    assert found["saved"] == {view["patch"]: "refused"}
    review.wait(classes=[*CLASSES, "Fett"])
    review.label("Fett")
    review.wait(saved={view["patch"]: "saved"})


@pytest.mark.parametrize("half", [b'{"add": {"event_id": "x", "ti', b"\0" * 40, b'{"odd": 1}\n'])
def test_a_half_written_line_takes_no_other_with_it(
    review: Driven, site: Site, folder: Path, half: bytes
) -> None:
    study = site.study(k=3)
    review.open(study)
    site.served.stop()
    patches = review.label(TUMOUR, NORMAL)
    review.wait(lambda view: len(view["saved"]) == 2)
    review.do("end")
    log = folder / "spool.jsonl"
    log.write_bytes(log.read_bytes() + half)
    site.served.start()
    assert review.connect(site.served.url, folder) == 1
    review.open(study, waiting=0)
    assert site.served.api.labels(study) == [*zip(patches, (TUMOUR, NORMAL), strict=True)]
    (aside,) = folder.glob("unread-*")
    assert aside.read_bytes().strip(b"\n") == half.strip(b"\n")


def test_a_second_qupath_on_one_outbox_says_so(
    review: Driven, start_jvm: Callable[..., Driven], site: Site, folder: Path
) -> None:
    second = start_jvm()
    with pytest.raises(ProblemError, match="Another QuPath of yours") as raised:
        second.connect(site.served.url, folder)
    assert raised.value.code == "outbox_in_use"
    review.do("end")
    second.connect(site.served.url, folder)
    second.open(site.study())
    second.do("end")
    review.connect(site.served.url, folder)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_is_said_and_labels_are_sent_all_the_same(
    review: Driven, site: Site, folder: Path
) -> None:
    study = site.study(k=3)
    review.open(study)
    site.served.stop()
    patches = review.label(TUMOUR)
    (folder / "spool.new").symlink_to("/dev/full")
    # Large enough that the log is written anew.
    body = {"name": "x", "reader": "y" * 600_000}
    entry = {"method": "PATCH", "path": f"/studies/{study}", "body": body, "about": {}}
    review.do("append", entry=entry)
    assert review.do("flush")
    patches += review.label(NORMAL)
    view = review.wait(lambda view: (view["problem"] or {}).get("code") == "outbox_unusable")
    assert str(folder) in view["problem"]["detail"]
    site.served.start()
    review.wait(waiting=0, timeout_s=60)
    assert site.served.api.labels(study) == [*zip(patches, (TUMOUR, NORMAL), strict=True)]
    (folder / "spool.new").unlink()
    view = review.wait(lambda view: view["problem"] is None)
    review.do("end")
    review.connect(site.served.url, folder)
    assert review.open(study, waiting=0)["labels"] == dict(
        zip(patches, (TUMOUR, NORMAL), strict=True)
    )


@pytest.fixture
def stranger() -> Iterator[tuple[str, list[str]]]:
    """A web server that is not ours and says yes to everything: its address, what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            page = b'{"welcome": "to the portal"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        do_GET = do_PUT = do_POST = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join(10)


def test_what_is_left_for_another_address_is_not_forgotten(
    review: Driven, site: Site, folder: Path
) -> None:
    review.open(site.study(k=3))
    site.served.stop()
    review.label(TUMOUR, NORMAL)
    assert review.do("flush")
    (left,) = review.do("elsewhere", base=str(folder.parent))
    port = site.served.port
    assert left == {"server": f"http://localhost:{port}", "waiting": 2, "refused": 0}


def test_a_yes_of_something_else_is_no_receipt(
    review: Driven, stranger: tuple[str, list[str]], folder: Path
) -> None:
    url, asked = stranger
    review.do("end")
    review.connect(url, folder)
    entry = {"method": "POST", "path": "/studies/x/undo", "body": {}, "about": {}}
    review.do("append", entry=entry)
    review.wait(lambda view: (view["problem"] or {}).get("code") == "not_slideloop", waiting=1)
    assert "POST /api/v1/studies/x/undo" in asked
