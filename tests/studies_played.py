"""Small studies on made-up features, which learn in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tests.synthetic_stores import features_of, write_store

from slideloop.features.store import FeatureStore
from slideloop.learning.database import Database, place_of
from slideloop.learning.linear import LinearEngine
from slideloop.studies.ground import Ground
from slideloop.studies.journal import Journal, new_id
from slideloop.studies.loop import Loop, create_study
from slideloop.studies.settings import Settings

CLASSES = ("Tumor", "Normal")
TRUTH = (np.arange(120) * 7 % 10 < 4).astype(int)
"""Class of each made-up patch, 0 or 1."""

Answer = Callable[[int], str]


def made_up_store(root: Path) -> FeatureStore:
    return write_store(root, features_of(TRUTH, (8, 2, 2), spread=1.0))


def settings_of(**more: Any) -> Settings:
    return Settings.checked(**{"classes": CLASSES, "rounds": 2, "k": 4, "seed": 3, **more})


def record_of(store: FeatureStore) -> dict[str, Any]:
    return {"id": store.id, "name": "made-up", "fingerprint": store.identity["fingerprint"]}


def loop_on(store: FeatureStore, reserved: list[list[int]] | None = None, **more: Any) -> Loop:
    """A study of tiles, queried by one of them."""
    journal = Journal(new_id())
    create_study(journal, settings_of(**more), [record_of(store)], reserved=reserved)
    return Loop(journal, Ground(Database([store]), LinearEngine(), [None]))


def true_class(ref: int) -> str:
    return CLASSES[TRUTH[place_of(ref)]]


def answer(loop: Loop, say: Answer = true_class) -> None:
    """Label the open round to its end."""
    shown = loop.study.round
    assert shown is not None
    for patch, ref in list(shown.shown.items()):
        loop.label(patch, say(ref), shown.id)


def play_session(loop: Loop, query: int, label: str = "Tumor", say: Answer = true_class) -> None:
    loop.query_patch(query, label)
    while loop.study.state == "labelling":
        answer(loop, say)
        loop.learn()


def shown_rounds(loop: Loop) -> list[dict[str, Any]]:
    return [event.data for event in loop.journal.events if event.type == "round_shown"]
