"""The slides of a workspace: opened by a path, indexed behind the request, found again later.

Owns the slides' documents in the ledger and the indexing of each. Knows nothing of studies: they
are told when a slide's index has grown.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slideloop.errors import (
    JobCancelledError,
    SlideloopError,
    SlideNotFoundError,
    StoreMismatchError,
    UnknownSlideError,
)
from slideloop.features.indexing import IndexingKey, indexing_key
from slideloop.features.normalisation import Normalisation
from slideloop.features.workspace import PatchOptions, grid_of, patches_of
from slideloop.slides.agreement import check_agreement
from slideloop.slides.opening import check_slide
from slideloop.slides.reader import open_slide
from slideloop.studies.ground import LEAST_TO_START
from slideloop.studies.jobs import PostponedError, unforeseen
from slideloop.studies.registered import Kept, RegisteredSlide, changed
from slideloop.studies.slide_view import slide_view
from slideloop.studies.worker import INDEX, REST

if TYPE_CHECKING:
    from slideloop.features.encoders import Encoder
    from slideloop.features.sources import SlidePatches
    from slideloop.features.workspace import Workspace
    from slideloop.settings import Settings
    from slideloop.studies.jobs import JobHandle, Jobs
    from slideloop.studies.ledger import Ledger
    from slideloop.studies.worker import Worker

__all__ = ["RegisteredSlide", "SlideRegister", "SlideRequest"]

_log = logging.getLogger(__name__)

KIND = "slide"
"""Kind of the ledger's documents."""

Watch = Callable[[str], None]


@dataclass(frozen=True)
class SlideRequest:
    """A slide to open, and what the client knows of it.

    Attributes
    ----------
    path : Path
        The file; whether it may be opened was decided before.
    width, height : int or None
        Level-0 pixels as the client shows it.
    mpp : float or None
        um per level-0 pixel as the client has it; counts where the file says nothing.
    server_type : str or None
        QuPath's name of what reads it there.
    probe : list of dict
        Rectangles `x, y, width, height` and their mean colours `rgb` as the client shows them.
    patch_px, stride_px : int or None
    target_mpp : float or None
    filter, normalisation, store : str or None
        None: as the server was started.
    """

    path: Path
    width: int | None = None
    height: int | None = None
    mpp: float | None = None
    server_type: str | None = None
    probe: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    patch_px: int | None = None
    stride_px: int | None = None
    target_mpp: float | None = None
    filter: str | None = None
    normalisation: str | None = None
    store: str | None = None


class SlideRegister:
    """The slides of one workspace.

    Parameters
    ----------
    ledger : Ledger
    workspace : Workspace
    encoder : Encoder
    settings : Settings
        What holds where a request says nothing.
    worker : Worker
        Indexes them.
    jobs : Jobs
    """

    def __init__(
        self,
        ledger: Ledger,
        workspace: Workspace,
        encoder: Encoder,
        settings: Settings,
        worker: Worker,
        jobs: Jobs,
    ) -> None:
        self._ledger, self._workspace, self._encoder = ledger, workspace, encoder
        self._settings, self._worker, self._jobs = settings, worker, jobs
        # Never held while the ledger is written: a thread within a transaction may ask for a slide.
        self._lock = threading.RLock()
        self._embedding = ThreadPoolExecutor(1, "slideloop-embed")
        self._measuring = threading.Lock()
        self._kept = {id_: Kept.of(document) for id_, document in ledger.all(KIND).items()}
        self._live: dict[str, RegisteredSlide] = {}
        self._unusable: set[str] = set()
        self._n_indexing = 0  # one inside the other, in the worker's thread
        self._watches: list[Watch] = []

    def close(self) -> None:
        """Tell nobody anything any more, and embed nothing."""
        self._watches.clear()
        self._embedding.shutdown()

    def watch(self, callback: Watch) -> None:
        """Have a function called with the id of a slide whose index has grown, ended or failed.

        It is called from the worker's thread.
        """
        self._watches.append(callback)

    # Looking -------------------------------------------------------------------------------

    def view(self, slide_id: str) -> dict[str, Any]:
        """Return the wire `slide`.

        Raises
        ------
        UnknownSlideError
        """
        kept = self._known(slide_id)
        is_indexing = self._job(slide_id) is not None
        try:
            live = self._live_for_view(kept)
        except SlideloopError as err:
            return slide_view(kept, None, is_indexing, err.problem())
        return slide_view(kept, live.store if live else None, is_indexing, kept.problem)

    def all(self) -> list[dict[str, Any]]:
        """Return the wire `slide` of all, in the order in which they were first opened."""
        return [self.view(slide_id) for slide_id in list(self._kept)]

    def of_file(self, path: Path) -> list[dict[str, Any]]:
        """Return the wire `slide` of all that were opened from a file of this content.

        Parameters
        ----------
        path : Path
            A regular file, whatever it is called now; read to its end only where a slide of its
            size is known.

        Raises
        ------
        UnreadableSlideError, SlideChangedError
            As `slideloop.slides.fingerprint.fingerprint`.
        """
        with self._lock:
            all_kept = list(self._kept.values())
        size = _size(path)
        if not any(kept.size == size for kept in all_kept):
            return []
        mark = self._workspace.fingerprint(path)
        return [self.view(kept.id) for kept in all_kept if kept.fingerprint == mark]

    def get(self, slide_id: str) -> RegisteredSlide:
        """Return a slide for a study; its file need not be there.

        Raises
        ------
        UnknownSlideError
        StoreMismatchError
            If its features are another network's.
        StoreDamagedError
            If they are damaged.
        """
        with self._lock:
            live = self._live.get(slide_id)
            if live is None:
                kept = self._known(slide_id)
                made = kept.identity
                self._encoder.require_made(
                    made["encoder"],
                    made["weights"],
                    f"The features of {kept.name} were made",
                    "Open the slide again, or start the server with its --encoder and --weights.",
                )
                self._unusable.add(slide_id)
                live = RegisteredSlide(kept, self._workspace, self._encoder, self._embedding)
                self._unusable.discard(slide_id)
                self._live[slide_id] = live
            return live

    def _known(self, slide_id: str) -> Kept:
        with self._lock:
            kept = self._kept.get(slide_id)
        if kept is None:
            raise UnknownSlideError(
                f"There is no slide {slide_id}.", hint="Open it with POST /slides."
            )
        return kept

    def _live_for_view(self, kept: Kept) -> RegisteredSlide | None:
        """Return a slide's features where they must be looked at, not a complete slide's."""
        live = self._live.get(kept.id)
        if live is None and kept.is_complete and kept.id not in self._unusable:
            folders = (
                self._workspace.features / f"{kept.id}.{kind}" for kind in ("full", "pooled")
            )
            if any(folder.is_dir() for folder in folders):
                return None
        return live or self.get(kept.id)

    # Opening -------------------------------------------------------------------------------

    def open(self, request: SlideRequest) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Open a slide, compare it with what the client shows, and start or go on with its index.

        Fingerprint and normalisation are computed before this returns, since its id depends on
        them; the first slide of a workspace has 512 patches read for the latter (1.3), and with
        `dataset` every slide all of its patches.

        Parameters
        ----------
        request : SlideRequest

        Returns
        -------
        tuple of (dict, dict or None)
            The wire `slide`, and the wire `job` that indexes it; None where it is complete.

        Raises
        ------
        SlideNotFoundError, UnreadableSlideError, NotRgbError
            If the file is not a slide that can be used.
        SlideChangedError
            If another file lay there when it was opened before.
        SlideSizeDiffersError, SlideMppDiffersError, SlidePixelsDifferError
            If it is not what the client shows.
        ServerTypeUnsupportedError
            If the client shows it transformed.
        MppNeededError, GridError, InvalidInputError
            If it cannot be cut as asked for.
        NoTissueError
            If the normalisation is to be measured on it, and all of it is glass.
        """
        path = request.path.resolve()
        reader_name = self._reader_of(path)
        with open_slide(path, reader_name) as reader:
            check_agreement(
                reader.info,
                reader,
                width=request.width,
                height=request.height,
                mpp=request.mpp,
                server_type=request.server_type,
                probe=request.probe,
            )
            mark = self._workspace.fingerprint(path)
            options = self._options(request, mark)
            mpp = reader.info.mpp or options.assume_mpp
            info = replace(reader.info, mpp=mpp)
            grid = grid_of(info, options, options.mpp)
            source = patches_of(reader, grid, options.filter, mark, mpp)
            spec = request.normalisation or self._settings.normalisation
            key = indexing_key(source, self._encoder, self._normalisation(spec, source))
        kept = Kept(
            id=key.id,
            name=path.name,
            path=str(path),
            reader=reader_name,
            size=_size(path),
            kind=request.store or self._settings.store,
            normalisation=spec,
            identity=key.identity,
            details=source.details,
        )
        self._register(kept)
        job = self._go_on(key.id, kept.kind)
        return self.view(key.id), None if job is None else self._jobs.view(job)

    def _reader_of(self, path: Path) -> str:
        """Return the back-end for a file; one that was never opened is examined first."""
        with self._lock:
            all_kept = list(self._kept.values())
        if not any(kept.path == str(path) for kept in all_kept):
            return check_slide(path).reader
        mark = self._workspace.fingerprint(path)
        same = [kept for kept in all_kept if kept.fingerprint == mark]
        if not same:
            raise changed(path.name)
        return same[0].reader

    def _options(self, request: SlideRequest, mark: str) -> PatchOptions:
        settings = self._settings
        with self._lock:
            said = [kept.details["mpp"] for kept in self._kept.values() if kept.fingerprint == mark]
        # Of a file that does not state it, what was said of it last.
        remembered = next((mpp for mpp in reversed(said) if mpp is not None), None)
        patch = request.patch_px or settings.patch
        # The server's step belongs to the server's patch.
        stride = settings.stride if patch == settings.patch else None
        return PatchOptions(
            patch=patch,
            stride=request.stride_px or stride,
            mpp=request.target_mpp or settings.mpp,
            assume_mpp=request.mpp or remembered or settings.assume_mpp,
            filter=request.filter or settings.filter,
        )

    def _normalisation(self, spec: str, source: SlidePatches) -> Normalisation:
        if spec == "dataset":
            with self._lock:
                all_kept = list(self._kept.values())
            for kept in all_kept:
                if kept.normalisation == spec and source.identity.items() <= kept.identity.items():
                    mean, std = kept.identity["normalisation"]
                    return Normalisation(tuple(mean), tuple(std), spec)
        # Of two first slides, the second one waits for what the first one fixes.
        with self._measuring:
            return self._workspace.normalisation(spec, [source])

    def _register(self, new: Kept) -> None:
        """Keep a slide; of one that is known, where it lies now and what is wanted of it."""
        with self._lock:
            old = self._kept.get(new.id)
        if old is None:
            # Its features are opened first: what cannot be used is not kept.
            live = RegisteredSlide(new, self._workspace, self._encoder, self._embedding)
            self._change(new.id, new)
            with self._lock:
                self._live.setdefault(new.id, live)
            return
        kind = "full" if "full" in (old.kind, new.kind) else "pooled"
        place = {"path": new.path, "name": new.name, "reader": new.reader, "size": new.size}
        self._change(new.id, None, **place, kind=kind)

    def _change(self, slide_id: str, new: Kept | None, **changes: Any) -> None:
        """Alter what is kept of a slide, here and in the ledger, by one thread after the other."""
        with self._ledger.transaction():
            with self._lock:
                before = self._kept.get(slide_id) or new
                assert before is not None
                after = replace(before, **changes)
                is_new = slide_id not in self._kept
            if after != before or is_new:
                self._ledger.put(KIND, slide_id, asdict(after))
            with self._lock:
                self._kept[slide_id] = after
                live = self._live.get(slide_id)
            if live is not None:
                live.keep(after)

    # Indexing ------------------------------------------------------------------------------

    def ensure_indexing(self, slide_id: str) -> None:
        """Go on with an index that was cut off; nothing happens where it is complete.

        Raises
        ------
        UnknownSlideError, StoreMismatchError, StoreDamagedError
        """
        self._go_on(slide_id, self._known(slide_id).kind)

    def _go_on(self, slide_id: str, kind: str) -> str | None:
        """Return the job that indexes a slide, started if need be; None where it is complete."""
        live = self.get(slide_id)
        if live.store.is_complete and kind in ("pooled", live.store.kind):
            self._note_complete(live)
            return None
        under_way = self._job(slide_id, kind)
        if under_way is not None:
            return under_way
        self._change(slide_id, None, problem=None)
        return self._jobs.start(
            "index",
            _key(slide_id, kind),
            lambda handle: self._index(live, kind, handle),
            params={"slide": slide_id, "store": kind},
            priority=INDEX,
        )

    def _job(self, slide_id: str, kind: str = "pooled") -> str | None:
        """Return the unfinished job that will serve for a kind of store, or None."""
        for each in ("full", "pooled") if kind == "pooled" else ("full",):
            job = self._jobs.unfinished(_key(slide_id, each))
            if job is not None:
                return job
        return None

    def _index(self, live: RegisteredSlide, kind: str, handle: JobHandle) -> dict[str, Any]:
        """Index a slide, in the worker's thread; whoever is more urgent goes first.

        The first patches of a further slide are more urgent than the rest of this one: they are
        indexed inside it, and the further slide's rest behind it.
        """

        def progress(n_visited: int, n_cells: int) -> None:
            self._tell(live.id)
            has_begun = len(live.store) >= LEAST_TO_START
            if has_begun and self._n_indexing > 1 and not live.store.is_complete:
                raise PostponedError(REST)
            self._worker.breathe(REST if has_begun else INDEX)
            handle.report(n_visited, n_cells, "indexing")

        self._n_indexing += 1
        problem: SlideloopError | None = None
        try:
            handle.report(live.store.n_visited, live.grid.n_cells, "indexing")
            with live.patches() as source:
                self._require_same(live, indexing_key(source, self._encoder, live.normalisation))
                self._workspace.index(
                    source, self._encoder, live.normalisation, kind, progress, live.store
                )
        except JobCancelledError:
            raise
        except SlideloopError as err:
            problem = err
            raise
        except Exception as err:
            problem = unforeseen(err)
            raise
        finally:
            self._n_indexing -= 1
            self._note_end(live, problem)
            self._tell(live.id)
        return {"slide": live.id, "n_patches": len(live.store)}

    def _require_same(self, live: RegisteredSlide, key: IndexingKey) -> None:
        """Refuse to go on with an index under another name of the weights: the id has it."""
        if key.id != live.id:
            raise StoreMismatchError(
                f"The index of {live.record['name']} was begun with weights named "
                f"{live.store.identity['weights']['name']}, and the same are named "
                f"{self._encoder.weights.name} now.",
                hint="Start the server with the weights under their old name, or open the slide "
                "again.",
            )

    def _note_complete(self, live: RegisteredSlide) -> None:
        kept = self._known(live.id)
        if not kept.is_complete or kept.problem is not None:
            self._note_end(live, None)

    def _note_end(self, live: RegisteredSlide, problem: SlideloopError | None) -> None:
        """Keep how far an index came, and why no further."""
        store = live.store
        indexed = {"n": len(store), "n_visited": store.n_visited, "dropped": store.dropped}
        try:
            self._change(
                live.id,
                None,
                problem=None if problem is None else problem.problem(),
                indexed=indexed,
                is_complete=store.is_complete,
            )
        except SlideloopError as err:
            _log.error("The end of the index of %s was not kept: %s", live.id, err)

    def _tell(self, slide_id: str) -> None:
        for callback in list(self._watches):
            try:
                callback(slide_id)
            except Exception:
                _log.exception("Nobody heard that the index of %s has grown.", slide_id)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as err:
        raise SlideNotFoundError(
            f"{path.name} went away while it was opened.", hint="Open it again where it is now."
        ) from err


def _key(slide_id: str, kind: str) -> str:
    """Return the key of a slide's index among the jobs."""
    return f"index/{slide_id}/{kind}"
