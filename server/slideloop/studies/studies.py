"""All studies of a workspace, by their ids.

Owns making a study and finding it again, also after a restart.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from slideloop.errors import (
    InvalidInputError,
    SlideloopError,
    StoreMismatchError,
    UnknownPatchError,
    UnknownSlideError,
    UnknownStudyError,
)
from slideloop.features.environment import environment, machine_of
from slideloop.learning.database import Database
from slideloop.learning.engines import ENGINES, SESSION_START, create_engine
from slideloop.learning.heads import TrainingSettings
from slideloop.studies.ground import Ground
from slideloop.studies.journal import new_id
from slideloop.studies.ledger import StoredJournal
from slideloop.studies.live import LiveStudy
from slideloop.studies.loop import Loop, create_study
from slideloop.studies.models import ModelKeeper, ModelMemory
from slideloop.studies.once import Answer, Request, first_answer
from slideloop.studies.queries import QueryKeeper
from slideloop.studies.rounds import id_of_patch
from slideloop.studies.settings import Settings
from slideloop.studies.sizes import require_same_size
from slideloop.studies.steps import Steps
from slideloop.studies.study import Study
from slideloop.studies.views import study_view

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slideloop.features.encoders import Encoder
    from slideloop.learning.engine import Engine
    from slideloop.studies.jobs import Jobs
    from slideloop.studies.ledger import Ledger
    from slideloop.studies.slides import RegisteredSlide, SlideRegister
    from slideloop.studies.worker import Worker

_log = logging.getLogger(__name__)

SCOPE = "studies"
"""Where the event ids of requests that make a study are kept."""


class Studies:
    """The studies of one workspace.

    Parameters
    ----------
    folder : Path
        Where caches of studies are kept, a folder each.
    ledger : Ledger
    slides : SlideRegister
    encoder : Encoder
    worker : Worker
    jobs : Jobs
    """

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        slides: SlideRegister,
        encoder: Encoder,
        worker: Worker,
        jobs: Jobs,
    ) -> None:
        self._folder, self._ledger, self._slides = folder, ledger, slides
        self._encoder, self._worker, self._jobs = encoder, worker, jobs
        self._lock = threading.RLock()
        self._live: dict[str, LiveStudy] = {}
        self._memory = ModelMemory()
        self._engines: dict[tuple[str, TrainingSettings], Engine] = {}
        slides.watch(self._grown)

    def resume(self) -> None:
        """Open all studies, and go on with what was cut off when the server last ended."""
        for study_id in self._ledger.study_ids():
            try:
                live = self.get(study_id)
            except SlideloopError as err:
                _log.warning("Study %s cannot be opened: %s", study_id, err)
                continue
            with live.lock:
                live.steps.poke(is_changed=False)
                if live.study.state == "indexing":
                    for number in live.study.search_slides:
                        self._slides.ensure_indexing(live.study.slides[number]["id"])

    def close(self) -> None:
        """Let those who wait for a study go; to be called before the worker ends."""
        with self._lock:
            live = list(self._live.values())
        for study in live:
            study.steps.close()

    def get(self, study_id: str) -> LiveStudy:
        """Return a study.

        Raises
        ------
        UnknownStudyError
            If there is none of that id.
        StoreMismatchError
            If this server's network is not the study's.
        SlideloopError
            If a slide's features cannot be opened.
        """
        with self._lock:
            live = self._live.get(study_id)
            if live is None:
                if study_id not in self._ledger.study_ids():
                    raise UnknownStudyError(
                        f"There is no study {study_id}.", hint="List them with GET /studies."
                    )
                live = self._open(StoredJournal.open(self._ledger, study_id))
            return live

    def views(self, slide: str | None = None, archived: bool | None = None) -> list[dict[str, Any]]:
        """Return the wire `study` of all, or of those with a slide, archived ones or others."""
        views: list[dict[str, Any]] = []
        for study_id in self._ledger.study_ids():
            try:
                view = self._view(study_id)
            except SlideloopError as err:
                _log.warning("Study %s cannot be listed: %s", study_id, err)
                continue
            if slide is not None and slide not in view["slides"]:
                continue
            if archived is None or view["archived"] == archived:
                views.append(view)
        return views

    def _view(self, study_id: str) -> dict[str, Any]:
        try:
            return self.get(study_id).view()
        except StoreMismatchError:
            # One that this server cannot run is listed all the same.
            journal = StoredJournal.open(self._ledger, study_id)
            return study_view(Study.of(journal.events), journal.events[-1].receipt)

    def create(self, fields: dict[str, Any], request: Request) -> Answer:
        """Make a study; 201 with it.

        Parameters
        ----------
        fields : dict
            Body of `POST /studies` without `event_id`; what was not sent is absent.
        request : Request

        Raises
        ------
        UnknownSlideError, UnknownPatchError
        ClassRefusedError, InvalidInputError
        NormalisationMismatchError, StoreMismatchError, MppNeededError
        """
        with self._lock:
            known = first_answer(self._ledger, SCOPE, request)
            if known is not None:
                return known
            slides = [self._slides.get(slide) for slide in fields["slides"]]
            settings = _settings(fields)
            self._check(slides, settings)
            journal = StoredJournal.open(self._ledger, new_id())
            with self._ledger.transaction() as transaction:
                create_study(
                    journal,
                    settings,
                    [slide.record for slide in slides],
                    search_slides=_search_slides(fields),
                    reserved=_reserved(fields.get("reserved", []), slides),
                    environment=environment(
                        self._encoder, slides[0].store.identity["normalisation"]
                    ),
                    name=fields.get("name") or slides[0].record["name"],
                    event_id=request.event_id,
                )
                body = study_view(Study.of(journal.events), journal.events[-1].receipt)
                transaction.remember(SCOPE, request.event_id, request.body_sha256, 201, body)
            self._open(journal)
            return Answer(201, body)

    def _check(self, slides: Sequence[RegisteredSlide], settings: Settings) -> None:
        """Refuse slides that cannot be one study's."""
        if len({slide.id for slide in slides}) < len(slides):
            raise InvalidInputError("A slide is named twice.", hint="Name each slide once.")
        Database([slide.store for slide in slides])
        require_same_size([slide.record for slide in slides])
        for slide in slides:
            if settings.engine == "faithful" and slide.store.kind != "full":
                raise StoreMismatchError(
                    f"The features of {slide.record['name']} are stored pooled only, and the "
                    "faithful engine trains on full ones.",
                    hint="Open the slide again with store full, or use the linear engine.",
                )

    def _open(self, journal: StoredJournal) -> LiveStudy:
        study = Study.of(journal.events)
        made = journal.events[0].data["environment"]
        self._encoder.require_made(
            made["encoder"],
            made["weights"],
            "The study was made",
            "Start the server with the study's --encoder and --weights.",
        )
        slides = [self._slides.get(record["id"]) for record in study.slides]
        engine = self._engine(study.settings)
        folder = self._folder / journal.study
        ground = Ground(
            Database([slide.store for slide in slides]),
            engine,
            slides,
            machine=machine_of(environment(self._encoder, made["normalisation"])),
            models=ModelKeeper(engine, folder / "models", self._memory),
            queries=QueryKeeper(folder / "queries"),
        )
        steps = Steps(
            Loop(journal, ground), self._worker, lambda slide: self._slides.get(slide).store
        )
        live = LiveStudy(steps, self._ledger, self._slides, self._jobs)
        self._live[journal.study] = live
        return live

    def _engine(self, settings: Settings) -> Engine:
        """Return the engine of a study; studies of equal settings share one."""
        training = TrainingSettings(**settings.training)
        key = settings.engine, training
        if key not in self._engines:
            self._engines[key] = create_engine(settings.engine, self._encoder, training)
        return self._engines[key]

    def _grown(self, slide: str) -> None:
        with self._lock:
            live = list(self._live.values())
        for study in live:
            study.grown(slide)


def _settings(fields: dict[str, Any]) -> Settings:
    engine = fields.get("engine") or ENGINES[0]
    if engine not in ENGINES:
        raise InvalidInputError(
            f"There is no engine {engine!r}.", hint=f"Known engines: {', '.join(ENGINES)}."
        )
    names = ("mode", "classes", "positive", "strategy", "rounds", "k", "seed", "refine_query",
             "refine_over", "session_start")  # fmt: skip
    given = {name: fields[name] for name in names if fields.get(name) is not None}
    training = TrainingSettings(**dict[str, Any](fields.get("training") or {}))
    return Settings.checked(
        **{
            "session_start": SESSION_START[engine],
            **given,
            "engine": engine,
            "training": training.as_dict(),
        }
    )


def _search_slides(fields: dict[str, Any]) -> list[int] | None:
    wanted = fields.get("search_slides")
    if wanted is None:
        return None
    for slide in wanted:
        if slide not in fields["slides"]:
            raise UnknownSlideError(
                f"The slide {slide} is to be searched, but is not in the study.",
                hint="Name it in slides too.",
            )
    return sorted({fields["slides"].index(slide) for slide in wanted})


def _reserved(patches: Sequence[str], slides: Sequence[RegisteredSlide]) -> list[list[int]]:
    """Return the places of patches that are never shown, by slide."""
    wanted = set(patches)
    places: list[list[int]] = [[] for _ in slides]
    if not wanted:
        return []
    for slide, mine in zip(slides, places, strict=True):
        for place, (column, row) in enumerate(slide.store.cells[: len(slide.store)].tolist()):
            patch = id_of_patch(slide.record, column, row)
            if patch in wanted:
                mine.append(place)
                wanted.discard(patch)
    if wanted:
        raise UnknownPatchError(
            f"No slide of the study has an indexed patch {min(wanted)}.",
            hint="Reserve patches when the index is complete, by the ids that predictions imply.",
        )
    return places
