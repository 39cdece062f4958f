"""A study on a generated slide, played again from its journal in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slideloop.evaluation.generated import TUMOUR, Scene
from slideloop.features.encoders import Encoder
from slideloop.features.workspace import IndexedSlide
from slideloop.learning.database import Database, place_of
from slideloop.learning.engines import SESSION_START, create_engine
from slideloop.learning.heads import TrainingSettings
from slideloop.studies.ground import Ground
from slideloop.studies.journal import Journal, new_id, read_journal
from slideloop.studies.loop import Loop, create_study
from slideloop.studies.replay import replay, restore
from slideloop.studies.settings import Settings

pytestmark = pytest.mark.slow

CLASSES = ("Tumor", "Normal")
TRAINING = {"epochs": 2}

IN_ANOTHER_PROCESS = """
import json, sys
from pathlib import Path

from slideloop.features.encoders import load_encoder
from slideloop.features.normalisation import Normalisation
from slideloop.features.store import open_store
from slideloop.features.workspace import IndexedSlide, PatchOptions, Workspace
from slideloop.learning.database import Database
from slideloop.learning.engines import create_engine
from slideloop.learning.heads import TrainingSettings
from slideloop.studies.journal import read_journal
from slideloop.studies.replay import replay

journal = read_journal(Path(sys.argv[1]))
created = journal.events[0].data
(record,) = created["slides"]
workspace = Workspace(Path(sys.argv[2]))
encoder = load_encoder("squeezenet1_1", "random", "cpu", "fp32")
(source,) = workspace.open_slides([Path(record["path"])], PatchOptions(patch=96))
mean, std = record["normalisation"]
normalisation = Normalisation(tuple(mean), tuple(std))
store = workspace.index(source, encoder, normalisation, "full")
slide = IndexedSlide(source, store, encoder, normalisation)
training = TrainingSettings(**created["settings"]["training"])
engine = create_engine(created["settings"]["engine"], encoder, training)
found = replay(journal, Database([store]), engine, [slide])
print(json.dumps([found.n_rounds, found.n_trainings, found.differences]))
"""


@dataclass(frozen=True)
class Played:
    """A study that was played, and the file of its journal."""

    loop: Loop
    path: Path
    slide: IndexedSlide
    encoder: Encoder

    @property
    def database(self) -> Database:
        return Database([self.slide.store])

    def engine(self) -> Any:
        settings = self.loop.study.settings
        return create_engine(settings.engine, self.encoder, TrainingSettings(**settings.training))

    def workspace(self) -> Path:
        return self.slide.store.folder.parents[1]


def true_class(slide: IndexedSlide, ref: int) -> str:
    column, row = slide.store.cells[place_of(ref)].tolist()
    tissue = Scene(0, slide.width, slide.height).tissue(*slide.grid.rectangle(column, row))
    return CLASSES[0] if (tissue == TUMOUR).mean() >= 0.5 else CLASSES[1]


def played(engine_name: str, slide: IndexedSlide, encoder: Encoder, path: Path) -> Played:
    """Two sessions of two rounds; the second one is queried off the grid."""
    settings = Settings.checked(
        classes=CLASSES,
        rounds=2,
        k=5,
        seed=1,
        engine=engine_name,
        strategy="hybrid",
        session_start=SESSION_START[engine_name],
        training=TRAINING if engine_name == "faithful" else {},
    )
    journal = Journal(new_id())
    create_study(journal, settings, [slide.record()])
    engine = create_engine(engine_name, encoder, TrainingSettings(**settings.training))
    loop = Loop(journal, Ground(Database([slide.store]), engine, [slide]))
    places = range(len(slide.store))
    tumour = [place for place in places if true_class(slide, place) == CLASSES[0]]
    loop.query_patch(tumour[0], CLASSES[0])
    play(loop, slide)
    x, y, width, height = slide.grid.rectangle(*slide.store.cells[tumour[9]].tolist())
    loop.query(0, (x + 9.5, y - 12, width, height + 40), CLASSES[0])
    play(loop, slide)
    path.write_bytes(b"".join(journal.lines()))
    return Played(loop, path, slide, encoder)


def play(loop: Loop, slide: IndexedSlide) -> None:
    while loop.study.state == "labelling":
        shown = loop.study.round
        assert shown is not None
        for patch, ref in list(shown.shown.items()):
            loop.label(patch, true_class(slide, ref), shown.id)
        loop.learn()


@pytest.fixture(scope="module")
def linear(
    indexed_slide: IndexedSlide, squeezenet: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Played:
    path = tmp_path_factory.mktemp("studies") / "linear.ndjson"
    return played("linear", indexed_slide, squeezenet, path)


@pytest.fixture(scope="module")
def faithful(
    indexed_slide: IndexedSlide, squeezenet: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Played:
    path = tmp_path_factory.mktemp("studies") / "faithful.ndjson"
    return played("faithful", indexed_slide, squeezenet, path)


@pytest.fixture(params=["linear", "faithful"])
def study(request: pytest.FixtureRequest) -> Played:
    return request.getfixturevalue(request.param)


def test_the_study_is_worth_replaying(study: Played) -> None:
    types = [event.type for event in study.loop.journal.events]
    assert types.count("training_done") == 4
    queries = [event.data for event in study.loop.journal.events if event.type == "query"]
    assert queries[0]["on_grid"] and not queries[0]["squares"]
    assert queries[1]["squares"] and not queries[1]["on_grid"]
    used = {e.data["strategy_used"] for e in study.loop.journal.events if e.type == "round_shown"}
    assert used == {"front_mid_end", "hybrid"}
    labels = study.loop.study.n_labels()
    assert labels["Tumor"] > 2 and labels["Normal"] > 2


def test_a_new_process_plays_it_again_bit_for_bit(study: Played) -> None:
    # Another order of hashing, so that nothing may hang on the order of a set.
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, str(study.path), str(study.workspace())],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [4, 4, []]


def test_a_replay_leaves_the_journal_as_it_was(linear: Played) -> None:
    before = list(linear.loop.journal.events)
    found = replay(linear.loop.journal, linear.database, linear.engine(), [linear.slide])
    assert found.differences == ()
    assert linear.loop.journal.events == before


def tampered(journal: Journal, place: int, change: Any) -> Journal:
    """A journal with one event changed and a chain that fits again."""
    new = Journal(journal.study)
    for number, event in enumerate(journal.events):
        data = json.loads(json.dumps(event.data))
        if number == place:
            change(data)
        new.append(event.type, data)
    return new


def index_of(journal: Journal, type_: str, nth: int = 0) -> int:
    return [i for i, event in enumerate(journal.events) if event.type == type_][nth]


def differences(study: Played, journal: Journal) -> tuple[str, ...]:
    return replay(journal, study.database, study.engine(), [study.slide]).differences


def test_a_tampered_label_is_found(linear: Played, tmp_path: Path) -> None:
    journal = linear.loop.journal

    def turn_round(data: dict[str, Any]) -> None:
        data["label"] = CLASSES[data["label"] == CLASSES[0]]

    changed = tampered(journal, index_of(journal, "label"), turn_round)
    (tmp_path / "changed.ndjson").write_bytes(b"".join(changed.lines()))
    found = differences(linear, read_journal(tmp_path / "changed.ndjson"))
    assert any("training_done (training 1): digest" in difference for difference in found)


def test_a_tampered_distance_is_found(linear: Played) -> None:
    journal = linear.loop.journal

    def nudge(data: dict[str, Any]) -> None:
        data["patches"][0]["distance"] = float(np.nextafter(data["patches"][0]["distance"], 9))

    found = differences(linear, tampered(journal, index_of(journal, "round_shown", 1), nudge))
    assert found == ("round_shown (round 2): patches came out differently.",)


def test_a_tampered_digest_is_found(linear: Played) -> None:
    journal = linear.loop.journal

    def forge(data: dict[str, Any]) -> None:
        data["digest"] = "0" * 64

    found = differences(linear, tampered(journal, index_of(journal, "training_done", 3), forge))
    assert found == ("training_done (training 4): digest came out differently.",)


def test_a_label_left_out_is_found(linear: Played) -> None:
    journal = linear.loop.journal
    left_out = index_of(journal, "label", 2)
    shorter = Journal(journal.study)
    for number, event in enumerate(journal.events):
        if number != left_out:
            shorter.append(event.type, event.data)
    assert differences(linear, shorter)


def test_a_restored_study_gives_the_same_mask(study: Played) -> None:
    live = study.loop.predict(0)
    restored = restore(read_journal(study.path), study.database, study.engine(), [study.slide])
    found = restored.predict(0)
    assert np.array_equal(found.label, live.label)
    assert np.array_equal(found.probability, live.probability)
    assert np.array_equal(found.given, live.given)
    assert restored.models is not None and study.loop.models is not None
    assert restored.models.digest == study.loop.models.digest


def test_a_restored_study_goes_on_as_the_live_one(study: Played) -> None:
    """Stopped after the second session's first round, labelled but not yet learnt from."""
    journal = study.loop.journal
    stop = index_of(journal, "training_started", 2)
    path = study.path.with_name("stopped.ndjson")
    path.write_bytes(b"".join(event.line() + b"\n" for event in journal.events[:stop]))
    restored = restore(read_journal(path), study.database, study.engine(), [study.slide])
    assert restored.study.state == "training"
    restored.learn()
    play(restored, study.slide)
    kinds = ("round_shown", "training_done")
    assert outcome(restored.journal, kinds) == outcome(journal, kinds)


def outcome(journal: Journal, kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    """Data of some events without the time they took."""
    return [{**e.data, "seconds": None} for e in journal.events if e.type in kinds]
