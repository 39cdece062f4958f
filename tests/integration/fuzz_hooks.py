"""What schemathesis runs before each request: what exists, where it made up valid values.

A made-up id ends in a 404 before anything of interest happens. What was made to break the
description stays as it is. What exists comes from the variable FUZZ_KNOWN, as JSON, and the open
round from the server.
"""

from __future__ import annotations

import json
import os
import random
import uuid
from typing import Any

import requests
import schemathesis
from schemathesis import Case, HookContext

KNOWN_SHARE = 0.85
"""How many of the valid values are put right, the rest being for the 404s."""

KNOWN: dict[str, list[Any]] = json.loads(os.environ.get("FUZZ_KNOWN", "{}"))
_CLASSES = ("Tumor", "Normal", "Stroma")


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Put what exists into a request."""
    del context, kwargs
    components = case.meta.components if case.meta else {}
    valid = {str(location.value) for location, made in components.items() if made.mode.is_positive}
    dice = random.Random(case.id)
    if "path" in valid and case.path_parameters:
        case.path_parameters = {
            name: _known(name.removesuffix("_id"), value, dice)
            for name, value in case.path_parameters.items()
        }
        if case.path.endswith("/undo"):  # the first study keeps its models
            case.path_parameters["study_id"] = dice.choice(KNOWN["study"][1:])
    if "query" in valid and case.query:
        query = dict(case.query)
        if "wait" in query:
            query["wait"] = dice.choice(("0", "0.05"))
        for name in query.keys() & {"slide", "model_round", "after"}:
            query[name] = _known(name, query[name], dice)
        case.query = query
    if "body" in valid and isinstance(case.body, dict):
        case.body = _body(dict(case.body), dice)
        if "round_id" in case.body and "path" in valid and dice.random() < KNOWN_SHARE:
            _put_in_round(case, dice)


def _put_in_round(case: Case, dice: random.Random) -> None:
    """Name the round that is open now, and patches that it shows."""
    assert isinstance(case.body, dict)
    study = case.path_parameters["study_id"] = dice.choice(KNOWN["study"])
    url = f"{KNOWN['url'][0]}/api/v1/studies/{study}/round"
    found = requests.get(url, params={"wait": 1}, timeout=30).json()
    shown = [patch["id"] for patch in found.get("patches", ())]
    if not shown:
        return
    case.body["round_id"] = found["round_id"]
    if "patch_id" in case.path_parameters:
        case.path_parameters["patch_id"] = dice.choice(shown)
    if "labels" in case.body:
        case.body["labels"] = [_labelled(patch, dice) for patch in shown]


def _known(kind: str, value: Any, dice: random.Random) -> Any:
    """Return one that exists, or the value that was made up."""
    values = KNOWN.get(kind)
    return dice.choice(values) if values and dice.random() < KNOWN_SHARE else value


def _label(dice: random.Random) -> str:
    """Return a label, mostly one that every study has; there is none of the last one."""
    return dice.choices(("Tumor", "Normal", "unsure", "exclude", "none"), (8, 8, 1, 1, 1))[0]


def _labelled(patch: str, dice: random.Random) -> dict[str, Any]:
    return {"patch": patch, "label": _label(dice)}


def _body(body: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """Return a body with ids, classes and places that exist."""
    for name in body.keys() & {"slide", "patch", "round_id", "path"}:
        body[name] = _known(name.removesuffix("_id"), body[name], dice)
    if "event_id" in body and dice.random() < KNOWN_SHARE:
        body["event_id"] = str(uuid.UUID(int=dice.getrandbits(128), version=4))
    if "label" in body:
        body["label"] = _label(dice)
    if "labels" in body and dice.random() < KNOWN_SHARE:
        patches = dice.sample(KNOWN["patch"], min(4, len(KNOWN["patch"])))
        body["labels"] = [_labelled(patch, dice) for patch in patches]
    if "classes" in body and dice.random() < KNOWN_SHARE:
        body["classes"] = dice.sample(_CLASSES, dice.choice((2, 3)))
        body.pop("positive", None)
    if "reserved" in body and dice.random() < KNOWN_SHARE:
        body["reserved"] = KNOWN["patch"][:2]
    if body.get("training"):
        body["training"] = {"epochs": dice.choice((1, 2))}
    for name in body.keys() & {"slides", "search_slides"}:
        if dice.random() < KNOWN_SHARE:
            body[name] = list(KNOWN["slide"][:1])
    if {"x", "y", "width", "height"} <= body.keys() and dice.random() < KNOWN_SHARE:
        body.update(dice.choice(KNOWN["rectangle"]))
    return body
