"""The simulated expert as a client: the same experiment as `simulate`, through a server.

Owns what the protocol's steps are as requests. What is learnt, sampled and predicted is the
server's; the truth and the measures are those of `simulate`.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from slideloop.errors import NotTrainedError, StoreMismatchError, TruthError
from slideloop.evaluation.client import WAIT_S, ServerProblemError
from slideloop.evaluation.simulate import Run, draw_queries, reserved_places, take_point
from slideloop.learning.database import place_of, slide_of
from slideloop.studies.prediction import Prediction
from slideloop.studies.rounds import id_of_patch
from slideloop.studies.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from slideloop.evaluation.client import Client
    from slideloop.evaluation.simulate import Protocol
    from slideloop.evaluation.subjects import Subject
    from slideloop.features.workspace import IndexedSlide
    from slideloop.studies.loop import Loop

READER = "simulated expert"
_SIDES = ("x", "y", "width", "height")


class RemoteStudy:
    """A study on a server, as what `measure` looks at: its state, and its prediction.

    Parameters
    ----------
    client : Client
    subject : Subject
        The study's slides, in its order.
    study_id : str

    Attributes
    ----------
    id : str
    study : Study
        The fold of the journal as far as it was read.
    """

    def __init__(self, client: Client, subject: Subject, study_id: str) -> None:
        self.id = study_id
        self.study = Study()
        self._client, self._subject = client, subject
        self._seq = 0

    def read_on(self) -> None:
        """Read what the journal got since it was last read; the simulated expert never undoes."""
        lines = self._client.fetch(f"/studies/{self.id}/journal", after=self._seq).splitlines()
        for line in lines:
            event = json.loads(line)
            self.study.apply(event["type"], event["data"])
            self._seq = event["seq"]

    def predict(self, slide: int) -> Prediction:
        """Fetch the prediction of one slide, in the order of its index.

        Raises
        ------
        NotTrainedError
            Before two classes were labelled.
        StoreMismatchError
            If the server has indexed other patches than the truth is known for.
        """
        record = self._subject.records[slide]
        try:
            found = self._client.get(
                f"/studies/{self.id}/prediction", slide=record["id"], format="arrays", wait=WAIT_S
            )
        except ServerProblemError as err:
            if err.code == NotTrainedError.code:
                raise NotTrainedError(err.message, hint=err.hint) from err
            raise
        cells = self._subject.stores[slide].cells
        if not found["complete"] or not np.array_equal(_cells(found), cells):
            raise StoreMismatchError(
                f"The server has not indexed the same patches of {record['name']}.",
                hint="Wait for the index to be complete, and cut the slide with the same options.",
            )
        return Prediction(
            np.array(found["label"], np.int16),
            np.array(found["probability"], np.float64),
            np.array(found["given"], bool),
        )


def play_over_http(
    client: Client,
    subject: Subject,
    protocol: Protocol,
    strategy: str,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Run:
    """Play one run through a server, as `simulate.play` plays it on the engine.

    Parameters
    ----------
    client : Client
    subject : Subject
        Of slides that the server has indexed completely.
    protocol : Protocol
    strategy : str
    seed : int
    progress : callable, optional
        Called after each round with the rounds played so far.

    Returns
    -------
    Run
        Its `loop` is a `RemoteStudy`. `round_s` is what the expert waits from the last label's
        answer to the next patches.

    Raises
    ------
    TruthError
        If the subject has folders of tiles.
    ServerProblemError, ServerUnreachableError
        If the server refuses a step, or is lost.
    """
    queries = draw_queries(subject, protocol, seed)
    reserved = reserved_places(subject, queries)
    body = _study_body(subject, protocol, strategy, seed, reserved)
    study = RemoteStudy(client, subject, client.request("POST", "/studies", body)["id"])
    # What `Run` and `measure` use of a loop is what a remote study has.
    run = Run(strategy, seed, protocol.engine, [], cast("Loop", study), 0)
    n_rounds, state = 0, "new"
    for number, query in enumerate(queries, 1):
        if state == "exhausted":
            break
        client.request("POST", f"/studies/{study.id}/queries", _query_body(subject, query))
        shown = client.round(study.id)
        seconds: list[float] = []
        while shown["state"] == "labelling":
            answer(client, subject, shown)
            start = time.perf_counter()
            shown = client.round(study.id)
            seconds.append(round(time.perf_counter() - start, 4))
            n_rounds += 1
            if progress:
                progress(n_rounds)
        state = shown["state"]
        study.read_on()
        take_point(run, subject, number, reserved, seconds)
    return run


def answer(client: Client, subject: Subject, shown: dict[str, Any]) -> None:
    """Label each patch of a round as the truth says, one request each."""
    for patch in shown["patches"]:
        body = {
            "round_id": shown["round_id"],
            "label": true_class(subject, patch),
            "reader": READER,
        }
        client.request("PUT", f"/studies/{shown['study']}/labels/{patch['id']}", body)


def true_class(subject: Subject, patch: dict[str, Any]) -> str:
    """Return the true class of a patch of a round.

    Raises
    ------
    StoreMismatchError
        If it is no patch of the subject's grid.
    """
    slide = [record["id"] for record in subject.records].index(patch["slide"])
    cell = _access(subject, slide).grid.cell_at(*(patch[side] for side in _SIDES))
    truth = subject.truths[slide].grid_label
    if cell is None or truth is None:
        raise StoreMismatchError(
            f"The server's patch {patch['id']} lies on no cell of the truth's grid.",
            hint="Cut the slide with the same options.",
        )
    column, row = cell
    return subject.classes[truth[row, column]]


def _study_body(
    subject: Subject, protocol: Protocol, strategy: str, seed: int, reserved: list[list[int]]
) -> dict[str, Any]:
    settings = protocol.settings(subject.classes, strategy, seed).as_dict()
    ids = [record["id"] for record in subject.records]
    cells = [(s, *subject.stores[s].cells[p].tolist()) for s, ps in enumerate(reserved) for p in ps]
    return {
        **settings,
        "name": f"{strategy} {seed}",
        "slides": ids,
        "search_slides": [ids[slide] for slide in subject.search_slides],
        "reserved": [id_of_patch(subject.records[slide], *cell) for slide, *cell in cells],
    }


def _query_body(subject: Subject, query: int) -> dict[str, Any]:
    slide = slide_of(query)
    column, row = subject.stores[slide].cells[place_of(query)].tolist()
    rectangle = _access(subject, slide).grid.rectangle(column, row)
    return {
        "slide": subject.records[slide]["id"],
        **dict(zip(_SIDES, rectangle, strict=True)),
        "label": subject.label(query),
        "reader": READER,
    }


def _access(subject: Subject, slide: int) -> IndexedSlide:
    access = subject.slides[slide]
    if access is None:
        raise TruthError("A folder of tiles cannot be played over HTTP.", hint="Use slides.")
    return access


def _cells(prediction: dict[str, Any]) -> NDArray[np.int32]:
    return np.stack([np.array(prediction[axis], np.int32) for axis in ("col", "row")], axis=1)
