"""Backspace: the latest label is taken back, over the border of a round too, the query never."""

from __future__ import annotations

import time
import uuid

from tests.groovy.conftest import CLASSES, Site
from tests.groovy.driven import Driven

TUMOUR, NORMAL = CLASSES


def labels_at_server(site: Site, study: str) -> dict[str, str]:
    return site.served.api("GET", f"/studies/{study}/round")["labels"]


def test_the_latest_label_is_taken_back_at_once(review: Driven, site: Site) -> None:
    study = site.study(k=3)
    review.open(study)
    first, second = review.label(TUMOUR, NORMAL)
    review.call("back")
    view = review.wait(patch=second)
    assert view["labels"] == {first: TUMOUR}
    review.wait(waiting=0, labels={first: TUMOUR})
    assert labels_at_server(site, study) == {first: TUMOUR}


def test_a_label_given_anew_is_taken_back_to_the_one_before(review: Driven, site: Site) -> None:
    study = site.study(k=3)
    review.open(study)
    (patch,) = review.label(TUMOUR)
    review.call("select", patch)
    review.wait(patch=patch)
    review.label(NORMAL)
    review.call("back")
    view = review.wait(labels={patch: TUMOUR}, waiting=0)
    assert view["patch"] == patch
    assert labels_at_server(site, study) == {patch: TUMOUR}


def test_back_goes_over_the_border_of_a_round(review: Driven, site: Site) -> None:
    study = site.study(rounds=3, k=2)
    first = review.open(study)
    _, last = review.label(TUMOUR, NORMAL)
    second = review.wait(lambda view: view["round"] == 2, state="labelling", waiting=0)
    start = time.monotonic()
    review.call("back")
    view = review.wait(round_id=first["round_id"])
    assert time.monotonic() - start < 1
    assert (view["state"], view["patch"]) == ("labelling", last)
    assert view["next"] == second["patches"]
    review.wait(waiting=0)
    assert labels_at_server(site, study) == {first["patches"][0]: TUMOUR}
    review.label(TUMOUR)
    review.wait(lambda view: view["round"] == 2, state="labelling", waiting=0)


def test_back_over_the_border_works_while_the_server_is_away(review: Driven, site: Site) -> None:
    study = site.study(rounds=2, k=2)
    first = review.open(study)
    site.served.stop()
    review.label(TUMOUR, NORMAL)
    review.wait(state="training")
    review.call("back")
    review.wait(round_id=first["round_id"], state="labelling")
    _, last = first["patches"]
    review.label(TUMOUR)
    site.served.start()
    review.wait(lambda view: view["round"] == 2, state="labelling", waiting=0)
    events = site.served.api.events(study, "label", "undo")
    assert [event["type"] for event in events] == ["label", "label", "undo", "label"]
    assert events[-1]["data"]["patch"] == last


def test_labels_of_before_the_study_was_opened_are_taken_back_too(
    review: Driven, site: Site
) -> None:
    study = site.study(rounds=2, k=2)
    first = review.open(study)
    _, last = review.label(TUMOUR, NORMAL)
    review.wait(lambda view: view["round"] == 2, state="labelling", waiting=0)
    review.call("close")
    review.wait(state="closed")
    review.open(study, round=2)
    review.call("back")
    view = review.wait(round_id=first["round_id"])
    assert (view["patch"], view["labels"]) == (last, {first["patches"][0]: TUMOUR})
    review.call("back")
    review.wait(patch=first["patches"][0], labels={})


def test_the_query_is_not_taken_back(review: Driven, site: Site) -> None:
    study = site.study()
    first = review.open(study)
    review.call("back")
    view = review.wait(lambda view: "Undo in the menu" in (view["note"] or ""))
    assert (view["state"], view["round_id"]) == ("labelling", first["round_id"])
    assert site.served.api.events(study, "undo") == []


def test_the_query_of_a_later_session_is_not_taken_back(review: Driven, site: Site) -> None:
    study = site.study(k=2)
    review.open(study)
    review.label(TUMOUR)
    review.wait(waiting=0)
    site.query(study)
    review.call("refresh")
    second = review.wait(session=2, labels={}, state="labelling")
    review.call("back")
    view = review.wait(lambda view: "Undo in the menu" in (view["note"] or ""))
    assert view["round_id"] == second["round_id"]
    assert site.served.api.events(study, "undo") == []


def test_a_region_sent_behind_a_label_is_not_taken_back(review: Driven, site: Site) -> None:
    study = site.study(k=3)
    review.open(study)
    (patch,) = review.label(TUMOUR)
    ring = [[0, 0], [400, 0], [400, 1000], [0, 1000], [0, 0]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    body = {"slide": site.slide, "label": NORMAL, "geometry": geometry}
    entry = {"method": "POST", "path": f"/studies/{study}/regions", "body": body, "about": {}}
    review.do("append", entry=entry)
    review.wait(waiting=0)
    review.call("back")
    review.wait(lambda view: "a region, not a label" in (view["note"] or ""))
    assert site.served.api.events(study, "undo") == []
    assert labels_at_server(site, study)[patch] == TUMOUR


def test_nothing_older_is_taken_back_while_the_server_is_away(review: Driven, site: Site) -> None:
    study = site.study()
    review.open(study)
    site.served.stop()
    review.call("back")
    view = review.wait(lambda view: "Nothing was taken back" in (view["note"] or ""))
    assert "does not answer" in view["note"]


def test_an_undo_goes_with_the_label_that_is_refused(review: Driven, site: Site) -> None:
    study = site.study(k=3)
    review.open(study)
    (kept,) = review.label(TUMOUR)
    review.wait(waiting=0)
    site.query(study)  # of another client: it closes the round
    site.served.stop()
    review.label("exclude")
    review.call("back")
    review.wait(waiting=2)
    site.served.start()
    view = review.wait(waiting=0, session=2)
    assert (view["labels"], view["refused"]) == ({}, [])
    assert site.served.api.labels(study) == [(kept, TUMOUR)]
    assert site.served.api.events(study, "undo") == []


def test_a_step_of_another_client_is_not_mistaken_for_ours(review: Driven, site: Site) -> None:
    study = site.study(k=3)
    view = review.open(study)
    ours, theirs, _ = view["patches"]
    review.label(TUMOUR)
    review.wait(waiting=0)
    body = {"label": NORMAL, "round_id": view["round_id"], "event_id": str(uuid.uuid4())}
    site.served.api("PUT", f"/studies/{study}/labels/{theirs}", **body)
    review.call("refresh")
    review.wait(labels={ours: TUMOUR, theirs: NORMAL})
    review.call("back")
    assert review.wait(labels={ours: TUMOUR}, waiting=0)["patch"] == theirs
