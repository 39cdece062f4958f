"""Studies over HTTP, row by row of the table (interfaces.md, Paths), and what is refused.

Every answer is held against the published description, too.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
import unicodedata
import uuid
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from jsonschema_rs import Draft202012Validator
from PIL import Image

from slideloop.api.app import ServeOptions, create_app
from slideloop.api.paths import Roots
from slideloop.api.schemas import MAX_LABELS, MAX_VERTICES
from slideloop.masks.geojson import marker
from slideloop.settings import load_settings
from slideloop.studies.journal import read_journal
from slideloop.studies.service import open_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flask_openapi3.openapi import OpenAPI
    from werkzeug.test import TestResponse

    from slideloop.studies.service import Service

API = "/api/v1"
K = 4
WIDTH, HEIGHT, SIDE = 1536, 1024, 96

STUDY = {
    "id", "name", "slides", "search_slides", "mode", "classes", "positive", "strategy", "rounds",
    "k", "engine", "seed", "refine_query", "session_start", "n_labels", "n_query_labels",
    "n_region_labels", "sessions", "state", "archived", "journal",
}  # fmt: skip
ROUND = {
    "study", "session", "round", "rounds", "round_id", "state", "query", "strategy",
    "strategy_used", "engine", "model_round", "n_pool", "progress", "patches", "labels",
    "remaining", "notes",
}  # fmt: skip
PATCH = {
    "id", "slide", "x", "y", "width", "height", "rank", "distance", "probability", "reason"
}  # fmt: skip
ARRAYS = {
    "slide", "grid", "classes", "n", "complete", "model_round", "col", "row", "label",
    "probability", "given",
}  # fmt: skip
REPORT = {
    "study", "created", "updated", "settings", "changes", "slides", "labels", "sessions", "rounds",
    "regions", "trainings", "predictions", "effort", "readers", "undone", "journal",
}  # fmt: skip


@dataclass
class Http:
    """A client of the app, that holds every answer against the published description."""

    app: OpenAPI
    service: Service
    slides: list[str]

    def __call__(self, verb: str, path: str, body: Any = None, **query: Any) -> TestResponse:
        answer = self.app.test_client().open(
            API + path,
            method=verb,
            json=body,
            query_string=query or None,
            headers={"Host": "127.0.0.1:8765"},
        )
        self._require_documented(verb, path, answer)
        return answer

    def ok(self, status: int, verb: str, path: str, body: Any = None, **query: Any) -> Any:
        answer = self(verb, path, body, **query)
        assert answer.status_code == status, answer.text
        return answer.json

    def refused(
        self, status: int, code: str, verb: str, path: str, body: Any = None, **query: Any
    ) -> str:
        """Return the detail of an answer that must be a problem."""
        answer = self(verb, path, body, **query)
        problem = json.loads(answer.data)
        assert (answer.status_code, problem["code"]) == (status, code), answer.text
        assert problem["detail"] and problem["hint"]
        return problem["detail"]

    def _require_documented(self, verb: str, path: str, answer: TestResponse) -> None:
        description = self.app.api_doc
        template = next(
            known
            for known in description["paths"]
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", known), API + path)
        )
        responses = description["paths"][template][verb.lower()]["responses"]
        content = responses[str(answer.status_code)]["content"]
        schema = content[answer.content_type]["schema"]
        if answer.mimetype.endswith("json") and answer.mimetype != "application/x-ndjson":
            whole = {**schema, "components": description["components"]}
            Draft202012Validator(whole).validate(json.loads(answer.data))

    # Ways to a state ---------------------------------------------------------------------------

    def study(self, n_slides: int = 1, **more: Any) -> str:
        body = {
            "slides": self.slides[:n_slides],
            "mode": "classes",
            "classes": ["Tumor", "Normal"],
            "rounds": 2,
            "k": K,
            **more,
        }
        return self.ok(201, "POST", "/studies", body)["id"]

    def query_body(self, number: int = 0, label: str = "Tumor", at: int = 3) -> dict[str, Any]:
        slide = self.service.slides.get(self.slides[number])
        x, y, width, height = slide.grid.rectangle(*slide.store.cells[at].tolist())
        rectangle = {"x": x, "y": y, "width": width, "height": height}
        return {"slide": slide.id, **rectangle, "label": label}

    def queried(self, study: str) -> dict[str, Any]:
        self.ok(201, "POST", f"/studies/{study}/queries", self.query_body())
        return self.ok(200, "GET", f"/studies/{study}/round", wait=20)

    def label_all(self, shown: dict[str, Any]) -> None:
        for number, patch in enumerate(shown["patches"]):
            body = {"label": ("Tumor", "Normal")[number % 2], "round_id": shown["round_id"]}
            self.ok(200, "PUT", f"/studies/{shown['study']}/labels/{patch['id']}", body)

    def trained(self, **more: Any) -> str:
        study = self.study(**more)
        self.label_all(self.queried(study))
        shown = self.ok(200, "GET", f"/studies/{study}/round", wait=20)
        assert (shown["round"], shown["model_round"]) == (2, 1)
        return study

    def wait_for_job(self, job: dict[str, Any]) -> None:
        ended = self.ok(200, "GET", f"/jobs/{job['id']}", wait=60)
        assert ended["state"] == "done", ended


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory, small_slides: Path) -> Iterator[Http]:
    settings = load_settings(
        workspace=tmp_path_factory.mktemp("service"),
        weights="random",
        encoder="squeezenet1_1",
        patch=SIDE,
        device="cpu",
    )
    service = open_service(settings)
    try:
        asked = Http(create_app(service, ServeOptions(roots=Roots([small_slides]))), service, [])
        for name in ("small", "other"):
            opened = asked.ok(202, "POST", "/slides", {"path": str(small_slides / f"{name}.tif")})
            asked.wait_for_job(opened["job"])
            asked.slides.append(opened["slide"]["id"])
        yield asked
    finally:
        service.close()


@pytest.fixture(scope="module")
def trained(http: Http) -> str:
    """A study with one training behind it; tests only look at it."""
    return http.trained()


def event_id() -> str:
    return str(uuid.uuid4())


def polygon(*points: tuple[float, float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[list(point) for point in (*points, points[0])]]}


def square(x: float, y: float, side: float) -> dict[str, Any]:
    return polygon((x, y), (x + side, y), (x + side, y + side), (x, y + side))


# Studies ---------------------------------------------------------------------------------------


def test_a_study_is_made_with_the_fields_of_the_contract(http: Http) -> None:
    body = {"slides": http.slides[:1], "mode": "classes", "classes": ["Tumor", "Normal"]}
    made = http.ok(201, "POST", "/studies", body)
    assert made.keys() == STUDY
    assert (made["name"], made["positive"], made["state"]) == ("small.tif", "Tumor", "new")
    assert made["n_labels"] == {"Tumor": 0, "Normal": 0, "unsure": 0, "exclude": 0}
    assert made["search_slides"] == http.slides[:1]
    assert made["journal"].keys() == {"seq", "hash"}
    defaults = http.ok(200, "GET", "/info")["defaults"]
    for name in ("mode", "strategy", "rounds", "k", "engine", "seed", "refine_query"):
        assert made[name] == defaults[name]


def test_a_study_takes_every_setting(http: Http) -> None:
    body = {
        "name": "Kolon ü",
        "slides": http.slides,
        "search_slides": http.slides[1:],
        "mode": "relevance",
        "classes": ["sought", "other"],
        "positive": "sought",
        "strategy": "entropy",
        "rounds": 3,
        "k": 7,
        "engine": "linear",
        "seed": 11,
        "refine_query": False,
        "session_start": "pretrained",
        "event_id": event_id(),
    }
    made = http.ok(201, "POST", "/studies", body)
    assert {name: made[name] for name in body if name != "event_id"} == {
        name: value for name, value in body.items() if name != "event_id"
    }


def test_what_is_null_counts_as_left_out(http: Http) -> None:
    made = http.study(name=None, seed=None, training=None, reserved=None, search_slides=None)
    assert http.ok(200, "GET", f"/studies/{made}")["seed"] == 0


def test_training_settings_are_recorded_with_the_study(http: Http) -> None:
    training = {"epochs": 2, "learning_rate": 0.001, "metric_distance": "raw"}
    study = http.study(engine="faithful", refine_over="round", training=training)
    settings = http.ok(200, "GET", f"/studies/{study}/report")["settings"]
    assert settings["training"] == {**settings["training"], **training}
    assert settings["refine_over"] == "round"


def test_reserved_patches_are_never_shown(http: Http) -> None:
    shown = http.queried(http.study(k=60))
    reserved = [patch["id"] for patch in shown["patches"][:30]]
    study = http.study(k=1000, reserved=reserved)
    again = http.queried(study)
    ids = {patch["id"] for patch in again["patches"]}
    assert len(ids) == again["n_pool"] == shown["n_pool"] - 30
    assert not ids & set(reserved)


def test_a_study_sent_twice_is_made_once(http: Http) -> None:
    body = {"slides": http.slides[:1], "classes": ["A", "B"], "event_id": event_id()}
    first = http.ok(201, "POST", "/studies", body)
    assert http.ok(201, "POST", "/studies", body) == first
    http.refused(409, "event_id_reused", "POST", "/studies", {**body, "name": "another"})


def test_a_study_of_an_unknown_slide_is_refused(http: Http) -> None:
    body = {"slides": ["nothing"], "classes": ["A", "B"]}
    http.refused(404, "unknown_slide", "POST", "/studies", body)


def test_slides_that_were_normalised_differently_make_no_study(
    http: Http, small_slides: Path
) -> None:
    path = str(small_slides / "small.tif")
    opened = http.ok(202, "POST", "/slides", {"path": path, "normalisation": "imagenet"})
    http.wait_for_job(opened["job"])
    body = {"slides": [http.slides[0], opened["slide"]["id"]], "classes": ["A", "B"]}
    http.refused(409, "normalisation_mismatch", "POST", "/studies", body)


@pytest.mark.parametrize(
    "classes",
    [
        [],
        ["Tumor"],
        ["Tumor", ""],
        ["Tumor", "  "],
        ["Tumor", "unsure"],
        ["exclude", "Tumor"],
        ["é", unicodedata.normalize("NFD", "é")],
    ],
)
def test_classes_that_a_study_cannot_have_are_refused(http: Http, classes: list[str]) -> None:
    body = {"slides": http.slides[:1], "classes": classes}
    http.refused(422, "class_refused", "POST", "/studies", body)


@pytest.mark.parametrize(
    "fault",
    [
        {"unknown": 1},
        {"slides": []},
        {"slides": ["x"] * 1001},
        {"slides": [1]},
        {"search_slides": []},
        {"classes": [f"class {number}" for number in range(51)]},
        {"classes": ["A", "b" * 201]},
        {"classes": "AB"},
        {"name": "  "},
        {"name": "n" * 201},
        {"mode": "other"},
        {"strategy": "best"},
        {"engine": "quantum"},
        {"rounds": 0},
        {"rounds": 1001},
        {"k": "5"},
        {"k": True},
        {"k": 5.0},
        {"k": 10**30},
        {"seed": -1},
        {"refine_query": 1},
        {"reserved": ["x"] * (MAX_LABELS + 1)},
        {"training": {"epochs": 10**6}},
        {"training": {"epochs": 0}},
        {"training": {"batch": 1}},
        {"training": {"learning_rate": 0}},
        {"training": {"mining": "soft"}},
        {"training": {"momentum": 0.9}},
        {"event_id": "again"},
    ],
)
def test_a_study_with_a_field_out_of_bounds_is_refused(http: Http, fault: dict[str, Any]) -> None:
    n_before = len(http.ok(200, "GET", "/studies"))
    body = {"slides": http.slides[:1], "classes": ["A", "B"], **fault}
    http.refused(422, "invalid", "POST", "/studies", body)
    assert len(http.ok(200, "GET", "/studies")) == n_before


def test_studies_are_listed_by_slide_and_by_whether_they_are_archived(http: Http) -> None:
    one, both = http.study(), http.study(2)
    http.ok(200, "PATCH", f"/studies/{one}", {"archived": True})

    def listed(**query: Any) -> set[str]:
        return {study["id"] for study in http.ok(200, "GET", "/studies", **query)}

    assert {one, both} <= listed()
    assert {one, both} & listed(slide=http.slides[1]) == {both}
    assert {one, both} & listed(archived="true") == {one}
    assert {one, both} & listed(archived="false") == {both}
    assert listed(slide="nothing") == set()


def test_one_study_is_found_by_its_id(http: Http, trained: str) -> None:
    found = http.ok(200, "GET", f"/studies/{trained}")
    assert found.keys() == STUDY
    assert (found["id"], found["state"]) == (trained, "labelling")
    (session,) = found["sessions"]
    assert session.keys() == {"id", "query", "rounds_done"}
    assert session["query"].keys() == {"slide", "x", "y", "width", "height", "label"}
    assert (session["rounds_done"], sum(found["n_labels"].values())) == (1, K)


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("POST", "/slides", {"slide": "x"}),
        ("POST", "/queries", {"slide": "x", "x": 0, "y": 0, "width": 1, "height": 1, "label": "A"}),
        ("GET", "/round", None),
        ("PUT", "/labels/x", {"label": "A", "round_id": "x"}),
        ("POST", "/labels", {"round_id": "x", "labels": [{"patch": "x", "label": "A"}]}),
        ("POST", "/regions", {"slide": "x", "label": "A", "geometry": square(0, 0, 96)}),
        ("POST", "/undo", {"scope": "last", "event_id": event_id()}),
        ("POST", "/predictions", {"slides": ["x"]}),
        ("GET", "/prediction?slide=x", None),
        ("GET", "/report", None),
        ("GET", "/journal", None),
    ],
)
def test_a_study_that_is_not_there_is_unknown_to_every_path(
    http: Http, verb: str, path: str, body: Any
) -> None:
    path, _, query = path.partition("?")
    more = {"slide": "x"} if query else {}
    http.refused(404, "unknown_study", verb, f"/studies/{uuid.uuid4()}{path}", body, **more)


def test_a_study_is_changed_from_the_next_round_on(http: Http) -> None:
    study = http.study(2)
    changes = {
        "name": "renamed",
        "strategy": "random",
        "rounds": 9,
        "k": 3,
        "search_slides": http.slides[1:],
        "positive": "Stroma",
        "archived": True,
    }
    body = {**changes, "add_classes": ["Stroma"], "event_id": event_id()}
    changed = http.ok(200, "PATCH", f"/studies/{study}", body)
    assert changed.keys() == STUDY
    assert {name: changed[name] for name in changes} == changes
    assert changed["classes"] == ["Tumor", "Normal", "Stroma"]
    assert http.ok(200, "GET", f"/studies/{study}") == changed
    assert http.ok(200, "PATCH", f"/studies/{study}", body) == changed


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"positive": "Lymph"}, 422, "class_refused"),
        ({"add_classes": ["Tumor"]}, 422, "class_refused"),
        ({"add_classes": ["unsure"]}, 422, "class_refused"),
        ({"strategy": "best"}, 422, "invalid"),
        ({"k": 0}, 422, "invalid"),
        ({"engine": "faithful"}, 422, "invalid"),
        ({"search_slides": []}, 422, "invalid"),
        ({"search_slides": ["nothing"]}, 404, "unknown_slide"),
    ],
)
def test_a_change_that_makes_no_sense_changes_nothing(
    http: Http, trained: str, changes: dict[str, Any], status: int, code: str
) -> None:
    before = http.ok(200, "GET", f"/studies/{trained}")
    http.refused(status, code, "PATCH", f"/studies/{trained}", changes)
    assert http.ok(200, "GET", f"/studies/{trained}") == before


def test_a_slide_is_added_once(http: Http) -> None:
    study = http.study()
    body = {"slide": http.slides[1]}
    added = http.ok(201, "POST", f"/studies/{study}/slides", body)
    assert added.keys() == STUDY
    assert added["slides"] == added["search_slides"] == http.slides
    assert http.ok(200, "POST", f"/studies/{study}/slides", body)["slides"] == http.slides
    http.refused(404, "unknown_slide", "POST", f"/studies/{study}/slides", {"slide": "nothing"})


# Queries and rounds ----------------------------------------------------------------------------


def test_a_query_starts_a_session(http: Http) -> None:
    study = http.study()
    body = {**http.query_body(), "reader": "Ada", "event_id": event_id()}
    started = http.ok(201, "POST", f"/studies/{study}/queries", body)
    assert started.keys() == ROUND | {"journal"}
    assert (started["round"], started["rounds"], started["study"]) == (1, 2, study)
    assert started["query"] == {name: body[name] for name in started["query"]}
    assert http.ok(201, "POST", f"/studies/{study}/queries", body) == started
    other = {**body, "label": "Normal"}
    http.refused(409, "event_id_reused", "POST", f"/studies/{study}/queries", other)


def test_the_round_shows_its_patches(http: Http) -> None:
    study = http.study()
    shown = http.queried(study)
    assert shown.keys() == ROUND
    assert (shown["state"], shown["remaining"], shown["labels"]) == ("labelling", K, {})
    assert [patch.keys() for patch in shown["patches"]] == [PATCH] * K
    for patch in shown["patches"]:
        assert (patch["width"], patch["height"]) == (SIDE, SIDE)
        assert patch["x"] % SIDE == patch["y"] % SIDE == 0


def test_there_is_no_round_before_the_first_query(http: Http) -> None:
    http.refused(409, "no_session", "GET", f"/studies/{http.study()}/round")


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"x": WIDTH + 500}, 422, "outside_slide"),
        ({"label": "Stroma"}, 422, "class_refused"),
        ({"label": ""}, 422, "class_refused"),
        ({"label": "unsure"}, 422, "class_refused"),
        ({"slide": "nothing"}, 404, "unknown_slide"),
        ({"x": "0"}, 422, "invalid"),
        ({"x": 1e300}, 422, "invalid"),
        ({"width": 0}, 422, "invalid"),
        ({"height": -1}, 422, "invalid"),
        ({"label": "l" * 201}, 422, "invalid"),
        ({"reader": ""}, 422, "invalid"),
        ({"colour": "red"}, 422, "invalid"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(
    http: Http, trained: str, fault: dict[str, Any], status: int, code: str
) -> None:
    body = {**http.query_body(), **fault}
    http.refused(status, code, "POST", f"/studies/{trained}/queries", body)


def test_a_query_on_glass_is_refused(http: Http, trained: str) -> None:
    slide = http.service.slides.get(http.slides[0])
    kept = {tuple(cell) for cell in slide.store.cells.tolist()}
    column, row = next(
        (column, row)
        for row in range(slide.grid.n_rows)
        for column in range(slide.grid.n_columns)
        if (column, row) not in kept
    )
    x, y, width, height = slide.grid.rectangle(column, row)
    rectangle = {"x": x, "y": y, "width": width, "height": height}
    body = {"slide": slide.id, **rectangle, "label": "Tumor"}
    http.refused(422, "on_glass", "POST", f"/studies/{trained}/queries", body)


def test_in_relevance_mode_only_what_is_sought_is_queried_for(http: Http) -> None:
    study = http.study(mode="relevance", classes=["sought", "other"])
    body = http.query_body(label="other")
    http.refused(422, "query_not_relevant", "POST", f"/studies/{study}/queries", body)


# Labels ----------------------------------------------------------------------------------------


def test_a_label_is_taken_and_may_be_changed(http: Http) -> None:
    study = http.study()
    shown = http.queried(study)
    path = f"/studies/{study}/labels/{shown['patches'][0]['id']}"
    body = {"label": "Tumor", "round_id": shown["round_id"], "reader": "Ada"}
    taken = http.ok(200, "PUT", path, body)
    assert taken.keys() == {"remaining", "n_labels", "round_complete", "journal"}
    assert (taken["remaining"], taken["round_complete"]) == (K - 1, False)
    assert taken["n_labels"]["Tumor"] == 1
    for name in ("Normal", "unsure", "exclude"):
        changed = http.ok(200, "PUT", path, {**body, "label": name})
        assert changed["n_labels"] == {**dict.fromkeys(taken["n_labels"], 0), name: 1}
        assert changed["remaining"] == K - 1


def test_the_last_label_of_a_round_completes_it(http: Http) -> None:
    study = http.study()
    shown = http.queried(study)
    labels = [{"patch": patch["id"], "label": "Tumor"} for patch in shown["patches"]]
    body = {"round_id": shown["round_id"], "labels": labels, "event_id": event_id()}
    taken = http.ok(200, "POST", f"/studies/{study}/labels", body)
    assert taken.keys() == {"remaining", "n_labels", "round_complete", "journal"}
    assert (taken["remaining"], taken["round_complete"]) == (0, True)
    assert http.ok(200, "POST", f"/studies/{study}/labels", body) == taken
    assert http.ok(200, "GET", f"/studies/{study}/round", wait=20)["round"] == 2


def test_of_labels_sent_together_all_or_none_are_taken(http: Http) -> None:
    study = http.study()
    shown = http.queried(study)
    first, second = (patch["id"] for patch in shown["patches"][:2])
    path, round_id = f"/studies/{study}/labels", shown["round_id"]

    def labels(*pairs: tuple[str, str]) -> dict[str, Any]:
        items = [{"patch": patch, "label": label} for patch, label in pairs]
        return {"round_id": round_id, "labels": items}

    wrong_class = labels((first, "Tumor"), (second, "Stroma"))
    http.refused(422, "class_refused", "POST", path, wrong_class)
    unknown = labels((first, "Tumor"), ("nothing", "Tumor"))
    http.refused(404, "unknown_patch", "POST", path, unknown)
    twice = labels((first, "Tumor"), (first, "Normal"))
    http.refused(422, "invalid", "POST", path, twice)
    assert http.ok(200, "GET", f"/studies/{study}/round")["labels"] == {}


def test_labels_that_do_not_fit_the_open_round_are_refused(http: Http, trained: str) -> None:
    shown = http.ok(200, "GET", f"/studies/{trained}/round")
    rounds = http.ok(200, "GET", f"/studies/{trained}/report")["rounds"]
    lines = http("GET", f"/studies/{trained}/journal").data.splitlines()
    first = next(e["data"] for e in map(json.loads, lines) if e["type"] == "round_shown")
    old = f"/studies/{trained}/labels/{first['patches'][0]['id']}"
    stale = {"label": "Tumor", "round_id": rounds[0]["round_id"]}
    http.refused(409, "stale_round", "PUT", old, stale)
    current = {"label": "Tumor", "round_id": shown["round_id"]}
    http.refused(409, "not_in_round", "PUT", old, current)
    http.refused(404, "unknown_patch", "PUT", f"/studies/{trained}/labels/nothing", current)
    mine = f"/studies/{trained}/labels/{shown['patches'][0]['id']}"
    http.refused(422, "class_refused", "PUT", mine, {**current, "label": "Stroma"})
    http.refused(422, "invalid", "PUT", mine, {**current, "label": 1})
    http.refused(422, "invalid", "PUT", mine, {"label": "Tumor"})


@pytest.mark.parametrize("n", [0, MAX_LABELS + 1])
def test_labels_in_one_request_are_some_but_not_too_many(http: Http, trained: str, n: int) -> None:
    body = {"round_id": "x", "labels": [{"patch": "x", "label": "Tumor"}] * n}
    http.refused(422, "invalid", "POST", f"/studies/{trained}/labels", body)


# Regions ---------------------------------------------------------------------------------------


def test_a_region_gives_its_patches_the_label(http: Http) -> None:
    study = http.study()
    body = {
        "slide": http.slides[0],
        "label": "Normal",
        "geometry": square(0, 0, 6 * SIDE),
        "reader": "Ada",
        "event_id": event_id(),
    }
    given = http.ok(200, "POST", f"/studies/{study}/regions", body)
    assert given.keys() == {"n_given", "n_train", "n_labels", "journal"}
    assert 0 < given["n_train"] <= given["n_given"] <= 36
    view = http.ok(200, "GET", f"/studies/{study}")
    assert view["n_region_labels"] == given["n_given"]
    assert http.ok(200, "POST", f"/studies/{study}/regions", body) == given


def test_a_region_of_several_polygons_can_train_at_once(http: Http) -> None:
    study = http.study()
    http.queried(study)
    # Beside the query at (8, 5), whose label they would take the place of.
    both = [square(0, 0, 5 * SIDE), square(10 * SIDE, 4 * SIDE, 5 * SIDE)]
    geometry = {"type": "MultiPolygon", "coordinates": [one["coordinates"] for one in both]}
    body = {"slide": http.slides[0], "label": "Normal", "geometry": geometry, "train": True}
    http.ok(200, "POST", f"/studies/{study}/regions", body)
    query = {"slide": http.slides[0], "wait": 20}
    found = http.ok(200, "GET", f"/studies/{study}/prediction", **query)
    assert found["model_round"] == 1


@pytest.mark.parametrize(
    "geometry",
    [
        {},
        {"type": "Point", "coordinates": [0, 0]},
        {"type": "Polygon"},
        {"type": "Polygon", "coordinates": None},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [0, 0]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, "0"]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, True]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0, 0]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [1e300, 0]]]},
        {"type": "Polygon", "coordinates": [[0, 0], [9, 0], [9, 9], [0, 0]]},
        {"type": "MultiPolygon", "coordinates": square(0, 0, 500)["coordinates"]},
        {**square(0, 0, 500), "plane": {"z": 3}},
        polygon((0, 0), (500, 0), (1000, 0)),
        square(0, 0, 10),
    ],
)
def test_a_region_that_is_no_area_of_the_slide_is_refused(
    http: Http, trained: str, geometry: dict[str, Any]
) -> None:
    body = {"slide": http.slides[0], "label": "Tumor", "geometry": geometry}
    http.refused(422, "geometry_invalid", "POST", f"/studies/{trained}/regions", body)


def test_a_region_of_a_million_vertices_is_refused(http: Http, trained: str) -> None:
    ring = [[n % 1000, n // 1000] for n in range(10**6)]
    body = {
        "slide": http.slides[0],
        "label": "Tumor",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    detail = http.refused(422, "geometry_invalid", "POST", f"/studies/{trained}/regions", body)
    assert str(MAX_VERTICES) in detail


def test_vertices_are_counted_over_all_rings(http: Http, trained: str) -> None:
    hole = [[float(n), 5.0] for n in range(MAX_VERTICES // 2)]
    geometry = square(0, 0, 500)
    geometry["coordinates"] += [hole, hole]
    body = {"slide": http.slides[0], "label": "Tumor", "geometry": geometry}
    detail = http.refused(422, "geometry_invalid", "POST", f"/studies/{trained}/regions", body)
    assert str(MAX_VERTICES) in detail


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"geometry": square(WIDTH + 500, 0, 500)}, 422, "outside_slide"),
        ({"label": "Stroma"}, 422, "class_refused"),
        ({"slide": "nothing"}, 404, "unknown_slide"),
        ({"geometry": [1]}, 422, "invalid"),
        ({"train": 1}, 422, "invalid"),
    ],
)
def test_a_region_that_the_study_cannot_take_is_refused(
    http: Http, trained: str, fault: dict[str, Any], status: int, code: str
) -> None:
    body = {"slide": http.slides[0], "label": "Tumor", "geometry": square(0, 0, 500), **fault}
    http.refused(status, code, "POST", f"/studies/{trained}/regions", body)


def test_a_region_with_nan_is_refused(http: Http, trained: str) -> None:
    text = json.dumps(
        {
            "slide": http.slides[0],
            "label": "Tumor",
            "geometry": polygon((0, 0), (float("nan"), 0), (500, 500)),
        }
    )
    answer = http.app.test_client().post(
        f"{API}/studies/{trained}/regions",
        data=text,
        content_type="application/json",
        headers={"Host": "127.0.0.1:8765"},
    )
    assert (answer.status_code, json.loads(answer.data)["code"]) == (422, "invalid")


# Undo ------------------------------------------------------------------------------------------


def test_undo_gives_the_round_as_it_was(http: Http) -> None:
    study = http.study()
    shown = http.queried(study)
    path = f"/studies/{study}/labels/{shown['patches'][0]['id']}"
    http.ok(200, "PUT", path, {"label": "Tumor", "round_id": shown["round_id"]})
    body = {"scope": "last", "event_id": event_id()}
    undone = http.ok(200, "POST", f"/studies/{study}/undo", body)
    assert undone.keys() == ROUND | {"journal"}
    assert {**shown, "journal": undone["journal"]} == undone
    assert http.ok(200, "POST", f"/studies/{study}/undo", body) == undone


def test_undo_of_a_round_takes_back_the_training_too(http: Http) -> None:
    study = http.trained()
    body = {"scope": "round", "event_id": event_id()}
    undone = http.ok(200, "POST", f"/studies/{study}/undo", body)
    assert (undone["round"], undone["labels"], undone["model_round"]) == (1, {}, 0)
    query = {"slide": http.slides[0]}
    http.refused(409, "not_trained", "GET", f"/studies/{study}/prediction", **query)


def test_undo_of_the_only_query_leaves_a_new_study(http: Http) -> None:
    study = http.study()
    http.queried(study)
    body = {"scope": "last", "event_id": event_id()}
    undone = http.ok(200, "POST", f"/studies/{study}/undo", body)
    assert undone.keys() == {"study", "state", "journal"}
    assert (undone["study"], undone["state"]) == (study, "new")
    again = {"scope": "last", "event_id": event_id()}
    http.refused(409, "nothing_to_undo", "POST", f"/studies/{study}/undo", again)


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "last"},
        {"scope": "last", "event_id": None},
        {"scope": "all", "event_id": event_id()},
        {"event_id": event_id()},
    ],
)
def test_an_undo_says_what_and_has_an_id(http: Http, trained: str, body: dict[str, Any]) -> None:
    http.refused(422, "invalid", "POST", f"/studies/{trained}/undo", body)


# Predictions -----------------------------------------------------------------------------------


def test_the_prediction_has_an_entry_per_patch(http: Http, trained: str) -> None:
    answer = http("GET", f"/studies/{trained}/prediction", slide=http.slides[0], wait=20)
    found = answer.json
    assert answer.content_type == "application/json"
    assert found is not None and found.keys() == ARRAYS
    store = http.service.slides.get(http.slides[0]).store
    assert np.array_equal(np.stack([found["col"], found["row"]], axis=1), store.cells)
    assert found["n"] == len(found["label"]) == len(found["given"]) == len(store)
    assert found["grid"] == {
        "patch_px": SIDE,
        "stride_px": SIDE,
        "mpp": None,
        "patch_px0": SIDE,
        "stride_px0": SIDE,
    }
    assert (found["slide"], found["complete"], found["model_round"]) == (http.slides[0], True, 1)
    assert found["classes"] == ["Tumor", "Normal"]
    assert set(found["label"]) <= {0, 1}
    assert sum(found["given"]) == K + 1  # the round's and the query's
    given = np.array(found["given"], bool)
    assert (np.array(found["probability"])[given] == 1).all()


def test_probabilities_arrive_to_the_last_bit(http: Http, trained: str) -> None:
    found = http.ok(200, "GET", f"/studies/{trained}/prediction", slide=http.slides[0])
    held = http.service.studies.get(trained).prediction(http.slides[0])
    assert found["probability"] == held.probability.tolist()


def test_a_long_prediction_in_pieces_is_the_same(
    http: Http, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, query = f"/studies/{trained}/prediction", {"slide": http.slides[0]}
    whole = http("GET", path, **query)
    assert whole.content_length == len(whole.data)
    monkeypatch.setattr("slideloop.api.predictions.NUMBERS_AT_ONCE", 50)
    pieces = http("GET", path, **query)
    assert pieces.content_length is None
    assert pieces.data == whole.data


def test_a_prediction_by_an_earlier_training_can_be_had(http: Http) -> None:
    study = http.trained()
    query = {"slide": http.slides[0], "wait": 20}
    first = http.ok(200, "GET", f"/studies/{study}/prediction", **query)
    http.label_all(http.ok(200, "GET", f"/studies/{study}/round"))
    second = http.ok(200, "GET", f"/studies/{study}/prediction", **query)
    assert second["model_round"] == 2
    again = http.ok(200, "GET", f"/studies/{study}/prediction", model_round=1, **query)
    reviewed = np.array(second["given"], bool) & ~np.array(first["given"], bool)
    before, after = np.array(first["probability"]), np.array(again["probability"])
    assert (before[~reviewed] == after[~reviewed]).all()
    query["model_round"] = 3
    http.refused(409, "not_trained", "GET", f"/studies/{study}/prediction", **query)


def test_there_is_no_prediction_before_two_classes_were_labelled(http: Http) -> None:
    study = http.study()
    query = {"slide": http.slides[0]}
    http.refused(409, "not_trained", "GET", f"/studies/{study}/prediction", **query)
    body = {"slides": [http.slides[1]]}
    http.refused(409, "not_trained", "POST", f"/studies/{study}/predictions", body)


def test_a_slide_that_was_never_labelled_is_predicted_when_asked_for(http: Http) -> None:
    study = http.trained()
    query = {"slide": http.slides[1]}
    http.refused(409, "not_predicted", "GET", f"/studies/{study}/prediction", **query)
    body = {"slides": [http.slides[1]], "event_id": event_id()}
    asked = http.ok(202, "POST", f"/studies/{study}/predictions", body)
    assert asked.keys() == {"job", "journal"}
    http.wait_for_job(asked["job"])
    found = http.ok(200, "GET", f"/studies/{study}/prediction", **query)
    assert (found["slide"], sum(found["given"])) == (http.slides[1], 0)
    again = http.ok(202, "POST", f"/studies/{study}/predictions", body)
    assert again["job"]["id"] == asked["job"]["id"]
    body = {"slides": ["nothing"]}
    http.refused(404, "unknown_slide", "POST", f"/studies/{study}/predictions", body)
    query = {"slide": "nothing"}
    http.refused(404, "unknown_slide", "GET", f"/studies/{study}/prediction", **query)


def test_the_prediction_comes_as_objects_of_the_positive_class(http: Http, trained: str) -> None:
    path, query = f"/studies/{trained}/prediction", {"slide": http.slides[0], "format": "geojson"}
    answer = http("GET", path, **query)
    assert answer.content_type == "application/geo+json"
    found = json.loads(answer.data)
    assert found["type"] == "FeatureCollection"
    assert found["features"]
    for feature in found["features"]:
        assert feature["properties"]["objectType"] == "detection"
        assert feature["properties"]["name"] == marker(trained)
        assert feature["properties"]["classification"]["name"] == "Tumor"
    annotations = json.loads(http("GET", path, **query, **{"as": "annotations"}).data)
    kinds = {feature["properties"]["objectType"] for feature in annotations["features"]}
    assert kinds == {"annotation"}


def test_tiles_are_a_square_per_patch_of_the_classes_wanted(
    http: Http, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/studies/{trained}/prediction"
    arrays = http.ok(200, "GET", path, slide=http.slides[0])
    query = {"slide": http.slides[0], "format": "geojson", "as": "tiles"}
    both = http("GET", path, **query, classes=["Tumor", "Normal"])
    tiles = json.loads(both.data)["features"]
    assert len(tiles) == arrays["n"]
    corners = {tuple(np.min(t["geometry"]["coordinates"][0], axis=0).tolist()) for t in tiles}
    assert corners == {
        (c * SIDE, r * SIDE) for c, r in zip(arrays["col"], arrays["row"], strict=True)
    }
    monkeypatch.setattr("slideloop.api.predictions.TILES_AT_ONCE", 40)
    banded = json.loads(http("GET", path, **query, classes=["Tumor", "Normal"]).data)["features"]
    assert {tile["id"] for tile in banded} == {tile["id"] for tile in tiles}
    assert len(banded) == len(tiles)


def test_a_threshold_leaves_out_what_is_less_probable(http: Http, trained: str) -> None:
    path = f"/studies/{trained}/prediction"
    arrays = http.ok(200, "GET", path, slide=http.slides[0])
    query = {"slide": http.slides[0], "format": "geojson", "as": "tiles", "threshold": 1}
    certain = json.loads(http("GET", path, **query).data)["features"]
    is_tumor = np.array(arrays["label"]) == 0
    assert len(certain) == (is_tumor & (np.array(arrays["probability"]) >= 1)).sum()


def test_the_mask_has_a_pixel_per_cell(http: Http, trained: str) -> None:
    path = f"/studies/{trained}/prediction"
    arrays = http.ok(200, "GET", path, slide=http.slides[0])
    answer = http("GET", path, slide=http.slides[0], format="png")
    assert answer.content_type == "image/png"
    picture = np.array(Image.open(io.BytesIO(answer.data)))
    assert picture.shape == (HEIGHT // SIDE, WIDTH // SIDE, 3)
    green = np.zeros(picture.shape[:2], bool)
    is_tumor = np.array(arrays["label"]) == 0
    green[np.array(arrays["row"])[is_tumor], np.array(arrays["col"])[is_tumor]] = True
    assert (picture == np.where(green[..., None], (0, 255, 0), 0)).all()


def test_the_mask_comes_at_the_slides_size_and_leaves_no_file(
    http: Http, trained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answer = http("GET", f"/studies/{trained}/prediction", slide=http.slides[0], format="tiff")
    assert answer.content_type == "image/tiff"
    assert answer.content_length == len(answer.data)
    with tifffile.TiffFile(io.BytesIO(answer.data)) as tiff:
        assert tiff.pages[0].shape == (HEIGHT, WIDTH, 3)
    answer.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "query",
    [
        {"format": "jpeg"},
        {"format": "png", "classes": "Tumor"},
        {"format": "arrays", "threshold": 0.5},
        {"format": "tiff", "as": "tiles"},
        {"format": "geojson", "classes": "Stroma"},
        {"format": "geojson", "as": "cells"},
        {"format": "geojson", "threshold": 1.5},
        {"format": "geojson", "threshold": "nan"},
        {"model_round": 0},
        {"wait": -1},
        {"colour": "red"},
    ],
)
def test_a_prediction_asked_for_wrongly_is_refused(
    http: Http, trained: str, query: dict[str, Any]
) -> None:
    path = f"/studies/{trained}/prediction"
    http.refused(422, "invalid", "GET", path, slide=http.slides[0], **query)


def test_a_prediction_of_no_slide_is_refused(http: Http, trained: str) -> None:
    http.refused(422, "invalid", "GET", f"/studies/{trained}/prediction")


# Report and journal ----------------------------------------------------------------------------


def test_the_report_counts_what_was_done(http: Http, trained: str) -> None:
    found = http.ok(200, "GET", f"/studies/{trained}/report")
    assert found.keys() == REPORT
    view = http.ok(200, "GET", f"/studies/{trained}")
    assert found["labels"] == {
        name: view[name] for name in ("n_labels", "n_query_labels", "n_region_labels")
    }
    assert found["rounds"][0]["labels"] == {"Tumor": 2, "Normal": 2}
    assert found["effort"]["n_reviewed"] == K
    assert found["trainings"][0]["n_trained"] == K + 1


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str | None] = []
        self.events: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action")]
        self.events += [name for name, _ in attrs if name.startswith("on")]


def test_the_page_stands_alone_and_shows_names_as_they_are(http: Http) -> None:
    evil = "<script>alert('x')</script>"
    study = http.trained(name=f"{evil} & Söhne", classes=["Tumor", "Normal", f'"{evil}'])
    region = {"slide": http.slides[0], "label": f'"{evil}', "geometry": square(0, 0, 500)}
    http.ok(200, "POST", f"/studies/{study}/regions", {**region, "reader": f"<b>{evil}"})
    answer = http("GET", f"/studies/{study}/report", format="html")
    assert answer.content_type == "text/html; charset=utf-8"
    page = Page(answer.text)
    assert {"table", "svg", "style"} <= page.tags
    assert "script" not in page.tags
    assert (page.addresses, page.events) == ([], [])
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; Söhne" in answer.text
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_a_study_without_a_query_has_a_page(http: Http) -> None:
    answer = http("GET", f"/studies/{http.study()}/report", format="html")
    assert "no query yet" in answer.text
    http.refused(422, "invalid", "GET", f"/studies/{http.study()}/report", format="pdf")


def test_the_journal_comes_line_by_line_and_its_chain_holds(
    http: Http, trained: str, tmp_path: Path
) -> None:
    answer = http("GET", f"/studies/{trained}/journal")
    assert answer.content_type == "application/x-ndjson"
    (tmp_path / "study.ndjson").write_bytes(answer.data)
    events = read_journal(tmp_path / "study.ndjson").events
    head = http.ok(200, "GET", f"/studies/{trained}")["journal"]
    assert (events[-1].seq, events[-1].hash) == (head["seq"], head["hash"])
    for line in answer.data.splitlines():
        assert json.loads(line).keys() == {
            "seq", "time", "type", "schema", "data", "prev", "hash"
        }  # fmt: skip


def test_a_part_of_the_journal_can_be_had(http: Http, trained: str) -> None:
    def seqs(**query: Any) -> list[int]:
        lines = http("GET", f"/studies/{trained}/journal", **query).data.splitlines()
        return [json.loads(line)["seq"] for line in lines]

    every = seqs()
    assert every == list(range(1, len(every) + 1))
    assert seqs(after=3) == every[3:]
    assert seqs(after=3, limit=2) == [4, 5]
    assert seqs(after=len(every)) == seqs(after=2**53 - 1) == []
    for query in ({"after": -1}, {"limit": 0}, {"after": "x"}, {"after": 2**60}):
        http.refused(422, "invalid", "GET", f"/studies/{trained}/journal", **query)


def test_every_label_is_in_the_journal_with_who_gave_it(http: Http) -> None:
    study = http.study()
    shown = http.queried(study)
    patch, own = shown["patches"][0]["id"], event_id()
    body = {"label": "unsure", "round_id": shown["round_id"], "reader": "Ada", "event_id": own}
    taken = http.ok(200, "PUT", f"/studies/{study}/labels/{patch}", body)
    after = taken["journal"]["seq"] - 1
    event = json.loads(http("GET", f"/studies/{study}/journal", after=after).data)
    assert event["type"] == "label"
    assert event["data"] == {"patch": patch, **body}
    assert event["hash"] == taken["journal"]["hash"]
