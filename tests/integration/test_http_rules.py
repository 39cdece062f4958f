"""What holds for every request, whatever it asks (interfaces.md, rules for all)."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from tests.services import quick_settings

from slideloop.api.allowed import AllowedFolders
from slideloop.api.app import ServeOptions, create_app
from slideloop.api.paths import Roots, read_mapping
from slideloop.api.schemas import MAX_BODY_BYTES
from slideloop.api.serving import OneLine
from slideloop.studies.service import open_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from slideloop.studies.service import Service

API = "/api/v1"
TOKEN = "correct-horse-battery-staple"
LOCAL = {"Host": "127.0.0.1:8765"}
REQUEST_ID = re.compile(r"[0-9a-f]{32}")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = open_service(quick_settings(tmp_path_factory.mktemp("workspace")))
    yield service
    service.close()


@pytest.fixture(scope="module")
def roots(small_slides: Path) -> Roots:
    return Roots([small_slides])


@pytest.fixture(scope="module")
def client(service: Service, roots: Roots) -> FlaskClient:
    return create_app(service, ServeOptions(roots=roots)).test_client()


@pytest.fixture(scope="module")
def guarded(service: Service, roots: Roots) -> FlaskClient:
    """A server that asks for a token."""
    return create_app(service, ServeOptions(roots=roots, token=TOKEN)).test_client()


def _ask(client: FlaskClient, verb: str, path: str, **given: Any) -> TestResponse:
    headers = {**LOCAL, **given.pop("headers", {})}
    return client.open(API + path, method=verb, headers=headers, **given)


def _post(client: FlaskClient, body: bytes | str, **headers: str) -> TestResponse:
    headers = {"Content-Type": "application/json", **headers}
    return _ask(client, "POST", "/slides", data=body, headers=headers)


def _problem(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Return the problem of an answer that must be one."""
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    problem = json.loads(answer.data)
    assert problem.keys() == {
        "type", "title", "status", "code", "detail", "hint", "retry", "request_id"
    }  # fmt: skip
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["detail"]
    assert REQUEST_ID.fullmatch(problem["request_id"])
    assert answer.headers["X-Request-Id"] == problem["request_id"]
    return problem


# What is asked ---------------------------------------------------------------------------------


def test_health_answers(client: FlaskClient) -> None:
    answer = _ask(client, "GET", "/health")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_info_names_what_menus_need(client: FlaskClient) -> None:
    info = _ask(client, "GET", "/info").json
    assert info["encoders"] == ["squeezenet1_1"]
    assert info["default_engine"] in info["engines"]
    assert info["defaults"]["strategy"] in info["strategies"]
    assert info["defaults"]["filter"] in info["filters"]
    assert info["defaults"]["patch_px"] == 96
    assert info["auth_required"] is False
    assert info["limits"]["wait_s"] == 60
    assert info["limits"]["body_bytes"] == MAX_BODY_BYTES
    assert all(limit > 0 for limit in info["limits"].values())


def test_an_unknown_path_is_a_problem(client: FlaskClient) -> None:
    _problem(_ask(client, "GET", "/nothing"), 404, "unknown_path")


def test_a_path_is_not_mended(client: FlaskClient) -> None:
    _problem(_ask(client, "GET", "/health/"), 404, "unknown_path")
    _problem(_ask(client, "GET", "//health"), 404, "unknown_path")


def test_a_wrong_verb_is_a_problem_that_names_the_right_ones(client: FlaskClient) -> None:
    answer = _ask(client, "PUT", "/slides")
    _problem(answer, 405, "method_not_allowed")
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))


@pytest.mark.parametrize("verb", ["TRACE", "CONNECT", "PROPFIND", "X" * 100])
def test_a_verb_that_nobody_knows_is_a_problem(client: FlaskClient, verb: str) -> None:
    _problem(_ask(client, verb, "/health"), 405, "method_not_allowed")


def test_head_is_get_without_the_body(client: FlaskClient) -> None:
    answer = _ask(client, "HEAD", "/info")
    assert (answer.status_code, answer.data) == (200, b"")


def test_options_grants_nothing_to_other_origins(client: FlaskClient) -> None:
    answer = _ask(client, "OPTIONS", "/slides")
    assert answer.status_code == 200
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


def test_unknown_ids_are_problems(client: FlaskClient) -> None:
    _problem(_ask(client, "GET", "/slides/none"), 404, "unknown_slide")
    _problem(_ask(client, "GET", "/jobs/none"), 404, "unknown_job")
    _problem(_ask(client, "DELETE", "/jobs/none"), 404, "unknown_job")
    _problem(_ask(client, "GET", "/studies/none"), 404, "unknown_study")


def test_an_id_with_strange_characters_is_only_unknown(client: FlaskClient) -> None:
    for name in ("%00", "%0a", "..", "%2e%2e", "%ff", "a%20b", "'%3b--", "%F0%9F%98%80"):
        assert _ask(client, "GET", f"/slides/{name}").status_code == 404


@pytest.mark.parametrize("query", ["wait=x", "wait=nan", "wait=-1", "wait=inf", "wiat=1", "wait="])
def test_a_query_that_does_not_fit_is_refused(client: FlaskClient, query: str) -> None:
    _problem(_ask(client, "GET", f"/jobs/none?{query}"), 422, "invalid")


def test_a_fault_of_the_server_is_a_problem(
    client: FlaskClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(service.slides, "all", fail)
    _problem(_ask(client, "GET", "/slides"), 500, "internal")


# With which body -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "",
     "application/json; charset=latin-1", "application/jsonx", "application/problem+json"],
)  # fmt: skip
def test_a_body_that_is_not_declared_as_json_is_refused(client: FlaskClient, kind: str) -> None:
    body = '{"path": "/a.svs"}'
    _problem(_post(client, body, **{"Content-Type": kind}), 415, "unsupported_media_type")


def test_json_in_utf8_may_say_so(client: FlaskClient) -> None:
    kind = "application/json; charset=UTF-8"
    _problem(_post(client, '{"path": "/a"}', **{"Content-Type": kind}), 404, "file_not_found")


def test_a_packed_body_is_refused(client: FlaskClient) -> None:
    _problem(_post(client, b"x", **{"Content-Encoding": "gzip"}), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        '"{\\"path\\": \\"/a\\"}"',
        '{"path": "/a", "path": "/b"}',
        '{"path": "/a", "mpp": NaN}',
        '{"path": "/a", "mpp": Infinity}',
        '{"path": "/a", "mpp": 1e999}',
        '{"path": "/a", "width": true}',
        '{"path": "/a", "width": "1"}',
        '{"path": "/a", "width": 1.5}',
        '{"path": "/a", "width": 0}',
        '{"path": "/a", "width": 99999999999999999999}',
        '{"path": 1}',
        '{"path": ""}',
        "{}",
        '{"path": "/a", "colour": "red"}',
        '{"path": "/a", "filter": "strict"}',
        '{"path": "/a", "probe": [{"x": 0, "y": 0, "width": 9, "height": 9, "rgb": [1, 2]}]}',
        '{"path": "/a", "probe": [{"x": -1, "y": 0, "width": 9, "height": 9, "rgb": [1, 2, 3]}]}',
        '{"path": "/a", "probe": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"path": "' + "a" * 10_000 + '"}',
        '{"path": "\\ud800"}',
    ],
)
def test_a_body_that_does_not_fit_is_refused(client: FlaskClient, body: str) -> None:
    _problem(_post(client, body), 422, "invalid")


def test_too_many_probes_are_refused(client: FlaskClient) -> None:
    probe = {"x": 0, "y": 0, "width": 9, "height": 9, "rgb": [1, 2, 3]}
    body = json.dumps({"path": "/a", "probe": [probe] * 65})
    _problem(_post(client, body), 422, "invalid")


def test_a_body_above_the_limit_is_refused(client: FlaskClient) -> None:
    _problem(_post(client, b" " * (MAX_BODY_BYTES + 1)), 413, "too_large")


def test_a_body_at_the_limit_is_read(client: FlaskClient) -> None:
    _problem(_post(client, b" " * MAX_BODY_BYTES), 422, "invalid")


# Which file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "{slides}/../a.svs", "{slides}/none.tif", "{slides}",
     "{slides}/small.tif\\u0000", "//host/share/a.svs", "\\\\\\\\host\\\\share\\\\a.svs", "file://host/small.tif",
     "file:////host/share/small.tif", "file:/etc/passwd", "small.tif", "http://127.0.0.1/a.svs"],
)  # fmt: skip
def test_no_file_but_a_regular_one_below_a_root_is_found(
    client: FlaskClient, small_slides: Path, path: str
) -> None:
    body = '{"path": "' + path.replace("{slides}", str(small_slides)) + '"}'
    _problem(_post(client, body), 404, "file_not_found")


@pytest.mark.parametrize("name", ["a b.tif", "Größe.tif", "50%.tif", "#1.tif", "%41.tif"])
def test_a_slide_of_any_name_is_opened_by_path_and_by_uri(
    client: FlaskClient, small_slides: Path, name: str
) -> None:
    slide = small_slides / name
    os.link(small_slides / "small.tif", slide)
    try:
        ids = set()
        for path in (str(slide), slide.as_uri(), slide.as_uri().replace("file:///", "file:/")):
            answer = _ask(client, "POST", "/slides", json={"path": path})
            assert answer.status_code in (200, 202), answer.data
            assert answer.json["slide"]["path"] == str(slide)
            ids.add(answer.json["slide"]["id"])
        assert len(ids) == 1
    finally:
        slide.unlink()


# Who asks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1", "", "a b"])
@pytest.mark.parametrize("path", ["/health", "/slides", "/nothing", "/docs"])
def test_another_host_name_is_refused(client: FlaskClient, host: str, path: str) -> None:
    _problem(_ask(client, "GET", path, headers={"Host": host}), 403, "forbidden_host")


def test_ipv6_loopback_is_let_in(client: FlaskClient) -> None:
    assert _ask(client, "GET", "/health", headers={"Host": "[::1]:8765"}).status_code == 200


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://127.0.0.1:1"])
@pytest.mark.parametrize(
    ("verb", "path"), [("GET", "/health"), ("POST", "/slides"), ("OPTIONS", "/slides")]
)
def test_another_origin_is_refused(client: FlaskClient, origin: str, verb: str, path: str) -> None:
    answer = _ask(client, verb, path, headers={"Origin": origin})
    _problem(answer, 403, "forbidden_origin")


def test_the_servers_own_pages_may_ask(client: FlaskClient) -> None:
    answer = _ask(client, "GET", "/health", headers={"Origin": "http://127.0.0.1:8765"})
    assert answer.status_code == 200


@pytest.mark.parametrize("given", [{}, {"Authorization": "Bearer wrong-horse-battery-staple"}])
@pytest.mark.parametrize("path", ["/info", "/slides", "/docs", "/openapi.json", "/nothing"])
def test_without_the_token_nothing_is_told(
    guarded: FlaskClient, given: dict[str, str], path: str
) -> None:
    _problem(_ask(guarded, "GET", path, headers=given), 401, "unauthorized")


def test_with_the_token_all_is_told(guarded: FlaskClient) -> None:
    given = {"Authorization": f"Bearer {TOKEN}"}
    info = _ask(guarded, "GET", "/info", headers=given)
    assert (info.status_code, info.json["auth_required"]) == (200, True)


def test_only_health_needs_no_token(guarded: FlaskClient) -> None:
    assert _ask(guarded, "GET", "/health").status_code == 200


# What is answered ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/nothing", "/docs", "/openapi.json"])
def test_every_answer_is_safe_in_a_browser(client: FlaskClient, path: str) -> None:
    headers = _ask(client, "GET", path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers


def test_two_requests_have_two_ids(client: FlaskClient) -> None:
    ids = {_ask(client, "GET", "/health").headers["X-Request-Id"] for _ in range(3)}
    assert len(ids) == 3


def test_the_docs_load_nothing_from_elsewhere(client: FlaskClient) -> None:
    page = _ask(client, "GET", "/docs").get_data(as_text=True)
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    for name in loaded:
        assert "//" not in name
        assert _ask(client, "GET", f"/{name}").status_code == 200


def test_the_description_documents_how_every_operation_refuses(client: FlaskClient) -> None:
    description = _ask(client, "GET", "/openapi.json").json
    assert description["openapi"].startswith("3.1")
    for path, operations in description["paths"].items():
        for verb, operation in operations.items():
            refusals = {code for code in operation["responses"] if code >= "400"}
            wanted = {"401", "403", "422", "431", "500"}
            if "requestBody" in operation:
                wanted |= {"413", "415"}
            assert wanted <= refusals, (verb, path)
            for code in refusals:
                content = operation["responses"][code]["content"]
                assert content.keys() == {"application/problem+json"}, (verb, path, code)


def test_the_description_holds_every_part_that_it_refers_to(client: FlaskClient) -> None:
    text = _ask(client, "GET", "/openapi.json").get_data(as_text=True)
    parts = json.loads(text)["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= set(parts)


def test_no_two_operations_share_an_id(client: FlaskClient) -> None:
    paths = _ask(client, "GET", "/openapi.json").json["paths"]
    ids = [op["operationId"] for operations in paths.values() for op in operations.values()]
    assert len(ids) == len(set(ids))


def test_no_two_models_share_the_name_of_a_part(client: FlaskClient) -> None:
    """One of them would be described as the other."""
    models: dict[str, set[str]] = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("slideloop.api."):
            for each in vars(module).values():
                if isinstance(each, type) and issubclass(each, BaseModel):
                    models.setdefault(each.__name__, set()).add(each.__module__)
    for part in _ask(client, "GET", "/openapi.json").json["components"]["schemas"]:
        homes = {home for home in models[part] if home.startswith("slideloop.")}
        assert len(homes) == 1, (part, homes)


# What is logged --------------------------------------------------------------------------------


def test_every_request_has_one_line_with_its_id(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "slideloop.api"):
        answer = _ask(client, "GET", "/jobs/none")
    (line,) = [record.getMessage() for record in caplog.records]
    id_ = answer.headers["X-Request-Id"]
    assert re.fullmatch(rf"{id_} GET /api/v1/jobs/none 404 \d+ ms", line)


def test_log_lines_hold_no_control_characters(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "slideloop.api"):
        _ask(client, "GET", "/slides/a%0Aforged%1b[2J%c2%85%e2%80%a8b")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.isprintable()
    assert r"a\nforged\x1b[2J" in line


def test_log_lines_hold_no_token_query_or_body(
    guarded: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    given = {"Authorization": f"Bearer {TOKEN}"}
    with caplog.at_level(logging.DEBUG):
        _ask(guarded, "GET", "/jobs/none?wait=0.015625&secret=1", headers=given)
        _ask(guarded, "POST", "/slides", json={"path": "/secret.svs"}, headers=given)
        _ask(guarded, "POST", "/slides", json={"secret": "secret"}, headers=given)
        _ask(guarded, "GET", "/info", headers={"Authorization": "Bearer secret"})
    assert len(caplog.records) >= 4
    assert TOKEN not in caplog.text
    assert "secret" not in caplog.text


def test_a_line_of_the_log_cannot_be_forged_by_any_message() -> None:
    try:
        raise ValueError("one\n2026-01-01 INFO slideloop: forged\x1b[2J")
    except ValueError as err:
        fault = (type(err), err, err.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "a\x07\nb\x07", None, fault)
    first, *others = OneLine().format(record).split("\n")
    assert others
    assert all(line.startswith("  | ") for line in others)
    assert all(line.isprintable() for line in (first, *others))


# Folders that are allowed later -----------------------------------------------------------------


@pytest.fixture
def growing(service: Service, tmp_path: Path) -> tuple[FlaskClient, Roots]:
    """A server that was started without folders, and its roots."""
    roots = Roots([tmp_path])
    options = ServeOptions(roots=roots, allowed=AllowedFolders(roots, tmp_path))
    return create_app(service, options).test_client(), roots


def test_a_server_without_folders_of_its_own_takes_one_that_is_allowed(
    growing: tuple[FlaskClient, Roots], small_slides: Path, tmp_path: Path
) -> None:
    client, _ = growing
    slide = json.dumps({"path": (small_slides / "small.tif").as_uri()})
    _problem(_post(client, slide), 404, "file_not_found")
    before = _ask(client, "GET", "/folders").get_json()
    assert before == {"folders": [str(tmp_path)], "may_add": True}
    answer = _ask(client, "POST", "/folders", json={"folder": small_slides.as_uri()})
    folders = [str(tmp_path), str(small_slides)]
    assert (answer.status_code, answer.get_json()) == (200, {"folders": folders, "may_add": True})
    assert _post(client, slide).status_code in (200, 202)


def test_a_server_with_folders_takes_no_others(client: FlaskClient, tmp_path: Path) -> None:
    _problem(_ask(client, "POST", "/folders", json={"folder": str(tmp_path)}), 409, "folders_fixed")
    assert _ask(client, "GET", "/folders").get_json()["may_add"] is False


def test_a_web_page_of_others_allows_no_folder(
    growing: tuple[FlaskClient, Roots], small_slides: Path, tmp_path: Path
) -> None:
    client, roots = growing
    body, origin = {"folder": str(small_slides)}, {"Origin": "https://evil.example"}
    answer = _ask(client, "POST", "/folders", json=body, headers=origin)
    _problem(answer, 403, "forbidden_origin")
    assert roots.folders == [tmp_path]


# Slides by a file -------------------------------------------------------------------------------


def test_the_slides_of_a_file_are_those_of_its_content(
    client: FlaskClient, small_slides: Path, tmp_path: Path
) -> None:
    small = small_slides / "small.tif"
    opened = _post(client, json.dumps({"path": str(small)})).get_json()["slide"]
    link = small_slides / "under another name.tif"
    link.hardlink_to(small)
    try:
        found = _ask(client, "GET", "/slides", query_string={"path": link.as_uri()}).get_json()
    finally:
        link.unlink()
    assert [each["id"] for each in found] == [opened["id"]]
    other = {"path": str(small_slides / "other.tif")}
    assert opened["id"] not in {
        each["id"] for each in _ask(client, "GET", "/slides", query_string=other).get_json()
    }
    nowhere = _ask(client, "GET", "/slides", query_string={"path": str(tmp_path / "x.tif")})
    _problem(nowhere, 404, "file_not_found")


@pytest.mark.parametrize(
    ("client_side", "path"),
    [
        (r"Z:\slides", r"Z:\slides\small.tif"),
        (r"Z:\slides", "file:/z:/SLIDES/small.tif"),
        ("//Pathology/share", r"\\pathology\SHARE\small.tif"),
        ("//Pathology/share", "file://pathology/share/small.tif"),
        ("//Pathology/share", "file:////pathology/share/small.tif"),
        ("/Volumes/slides", "file:///Volumes/slides/small.tif"),
    ],
)
def test_a_slide_is_the_same_by_the_path_of_every_client(
    service: Service, small_slides: Path, client_side: str, path: str
) -> None:
    roots = Roots([small_slides], [read_mapping(f"{client_side}={small_slides}")])
    client = create_app(service, ServeOptions(roots=roots)).test_client()
    here = _post(client, json.dumps({"path": str(small_slides / "small.tif")}))
    there = _post(client, json.dumps({"path": path}))
    assert there.status_code in (200, 202), there.get_json()
    assert there.get_json()["slide"]["id"] == here.get_json()["slide"]["id"]
