"""What schemathesis runs before each request: ids that exist, where it made valid ones up.

A made-up id ends in a 404 before anything of interest happens. What was made to break the
description stays as it is. The ids come from the variable FUZZ_KNOWN, as JSON.
"""

from __future__ import annotations

import json
import os
import random
from typing import Any

import schemathesis
from schemathesis import Case, HookContext

KNOWN_SHARE = 0.85
"""How many of the valid values are put right, the rest being for the 404s."""

KNOWN: dict[str, list[Any]] = json.loads(os.environ.get("FUZZ_KNOWN", "{}"))
_LABELS = ("Tumor", "Normal", "unsure", "exclude", "Stroma")


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
    if "query" in valid and case.query:
        query = dict(case.query)
        if "wait" in query:
            query["wait"] = dice.choice(("0", "0.05"))
        for name in query.keys() & {"slide", "model_round", "after"}:
            query[name] = _known(name, query[name], dice)
        case.query = query
    if "body" in valid and isinstance(case.body, dict):
        case.body = _body(dict(case.body), dice)


def _known(kind: str, value: Any, dice: random.Random) -> Any:
    """Return one that exists, or the value that was made up."""
    values = KNOWN.get(kind)
    return dice.choice(values) if values and dice.random() < KNOWN_SHARE else value


def _body(body: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """Return a body with ids, classes and places that exist."""
    for name in body.keys() & {"slide", "patch", "round_id", "path"}:
        body[name] = _known(name.removesuffix("_id"), body[name], dice)
    if "label" in body:
        body["label"] = dice.choice(_LABELS)
    if "labels" in body:
        body["labels"] = [
            {"patch": patch, "label": dice.choice(_LABELS)}
            for patch in dice.sample(KNOWN["patch"], min(4, len(KNOWN["patch"])))
        ]
    if "classes" in body and dice.random() < KNOWN_SHARE:
        body["classes"] = dice.sample(_LABELS[:2] + _LABELS[4:], dice.choice((2, 3)))
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
