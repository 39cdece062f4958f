"""A study reviewed from Groovy, against the real server."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from tests.groovy.conftest import CLASSES, Site
from tests.groovy.driven import Driven, ProblemError

TUMOUR, NORMAL = CLASSES


def test_a_whole_session_is_labelled(review: Driven, site: Site) -> None:
    study = site.study(rounds=2, k=3)
    first = review.open(study)
    assert (first["study"], first["classes"]) == ("Größe 检查", list(CLASSES))
    assert (first["position"], first["labels"], first["saved"]) == (0, {}, {})
    review.call_ms.clear()
    answers = (TUMOUR, NORMAL, "unsure")
    given = [*zip(review.label(*answers), answers, strict=True)]
    second = review.wait(lambda view: view["round"] == 2, state="labelling")
    assert second["labels"] == {}
    assert not set(second["patches"]) & set(first["patches"])
    answers = (NORMAL, "exclude", TUMOUR)
    given += zip(review.label(*answers), answers, strict=True)
    over = review.wait(state="session_over", waiting=0)
    assert over["saved"] == dict.fromkeys(second["patches"], "saved")
    assert site.served.api.labels(study) == given
    assert statistics.median(review.call_ms) < 50


def test_the_patch_to_label_next_is_the_next_one_without_a_label(
    review: Driven, site: Site
) -> None:
    first, second, third, fourth = review.open(site.study(k=4))["patches"]
    review.call("select", third)
    assert review.label(TUMOUR) == [third]
    assert review.label(TUMOUR) == [fourth]
    assert review.label(TUMOUR) == [first]
    assert review.wait(patch=second)["position"] == 1


def test_moving_stops_at_both_ends(review: Driven, site: Site) -> None:
    review.open(site.study(k=3))
    for step, position in ((-1, 0), (1, 1), (5, 2), (-9, 0)):
        review.call("move", step)
        review.wait(position=position)


def test_a_patch_labelled_anew_has_its_newest_label(review: Driven, site: Site) -> None:
    study = site.study(k=3)
    review.open(study)
    (patch,) = review.label(TUMOUR)
    review.call("select", patch)
    review.wait(patch=patch)
    review.label(NORMAL)
    view = review.wait(waiting=0)
    assert view["labels"] == {patch: NORMAL}
    assert site.served.api("GET", f"/studies/{study}/round")["labels"] == {patch: NORMAL}


def test_a_name_that_is_no_class_is_not_taken(review: Driven, site: Site) -> None:
    study = site.study()
    review.open(study)
    review.call("label", "Fett")
    view = review.wait(lambda view: view["note"])
    assert view["note"] == '"Fett" is no class of this study.'
    assert (view["labels"], view["waiting"]) == ({}, 0)


def test_keys_after_the_last_patch_label_nothing(review: Driven, site: Site) -> None:
    study = site.study(rounds=1, k=2)
    review.open(study)
    review.label(TUMOUR, TUMOUR)
    review.wait(state="session_over")
    review.call("label", NORMAL)
    review.wait(waiting=0)
    assert len(site.served.api.labels(study)) == 2


def test_a_study_without_a_query_says_so_and_goes_on_when_it_has_one(
    review: Driven, site: Site
) -> None:
    study = site.study(query=False)
    view = review.open(study, state="problem")
    assert view["problem"]["code"] == "no_session"
    site.query(study)
    review.call("refresh")
    assert review.wait(state="labelling")["problem"] is None


def test_an_unknown_study_is_said(review: Driven) -> None:
    assert review.open("none", state="problem")["problem"]["code"] == "unknown_study"


def test_a_session_that_another_client_starts_is_shown(review: Driven, site: Site) -> None:
    study = site.study()
    first = review.open(study)
    site.query(study)
    review.call("refresh")
    view = review.wait(lambda view: view["round_id"] != first["round_id"])
    assert (view["state"], view["labels"]) == ("labelling", {})


def test_numbers_and_names_come_back_as_they_were(review: Driven) -> None:
    text = '{"n":9007199254740993,"x":0.1,"y":100.0,"name":"Größe <Ⅱ> 检查","none":null}'
    assert review.do("json", text=text) == text


def test_an_outbox_is_named_by_its_server_alone(review: Driven, tmp_path: Path) -> None:
    urls = ("http://127.0.0.1:8765", "http://LOCALHOST:8765/", "http://127.0.0.1:8766")
    first, same, other = (
        review.do("folder", base=str(tmp_path), url=url).removeprefix(str(tmp_path)) for url in urls
    )
    assert first == same != other
    assert first.strip("/").isalnum()


@pytest.mark.parametrize("url", ["", "127.0.0.1:8765", "http://me:secret@host/", "ftp://host"])
def test_what_is_no_address_is_refused_without_repeating_it(review: Driven, url: str) -> None:
    with pytest.raises(ProblemError) as raised:
        review.do("folder", base="/", url=url)
    assert raised.value.code == "url_invalid"
    assert "secret" not in str(raised.value)
