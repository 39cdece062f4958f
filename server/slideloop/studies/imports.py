"""Masks of a study into a closed QuPath project, behind the request.

Owns the job; what an import is, `slideloop.qupath` knows. It waits for QuPath, not for this
machine's processors, so it has a thread of its own: no round waits for it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slideloop.masks.cells import class_index
from slideloop.masks.geojson import mask_features
from slideloop.qupath.child import require_qupath
from slideloop.qupath.guard import require_closed, require_unopened
from slideloop.qupath.importing import ImportOptions, import_masks
from slideloop.qupath.matching import Mask, match
from slideloop.qupath.project_file import read_project
from slideloop.studies.live import PREDICTION_S
from slideloop.studies.once import Answer, Request, first_answer
from slideloop.studies.worker import SHOW, Worker

if TYPE_CHECKING:
    from slideloop.features.workspace import Workspace
    from slideloop.masks.cells import CellMask
    from slideloop.masks.geojson import ObjectKind
    from slideloop.qupath.project_file import ProjectFile
    from slideloop.studies.jobs import JobHandle, Jobs
    from slideloop.studies.ledger import Ledger
    from slideloop.studies.slides import SlideRegister
    from slideloop.studies.studies import Studies

SCOPE = "imports"
"""Of the requests that are answered once."""


@dataclass(frozen=True)
class ImportRequest:
    """What is to be imported.

    Attributes
    ----------
    project : Path
        The .qpproj file; whether it may be opened was decided before.
    study : str
    slides : list of str or None
        None: all of the study.
    kind : {"detections", "annotations", "tiles"}
    classes : list of str or None
        None: the one that the study seeks.
    replace : bool
        Whether objects of an earlier import may be removed.
    """

    project: Path
    study: str
    slides: list[str] | None
    kind: ObjectKind
    classes: list[str] | None
    replace: bool


class Imports:
    """Imports into projects; `close` it.

    Parameters
    ----------
    ledger : Ledger
    workspace : Workspace
        Knows the fingerprints of files.
    slides : SlideRegister
    studies : Studies
    jobs : Jobs
    """

    def __init__(
        self,
        ledger: Ledger,
        workspace: Workspace,
        slides: SlideRegister,
        studies: Studies,
        jobs: Jobs,
    ) -> None:
        self._ledger, self._workspace = ledger, workspace
        self._slides, self._studies, self._jobs = slides, studies, jobs
        self._worker = Worker()

    def close(self) -> None:
        """Stop the import under way: what it has not written stays as it was."""
        self._worker.close()

    def start(self, wanted: ImportRequest, request: Request) -> Answer:
        """Start an import; 202 with its `job`.

        Raises
        ------
        UnknownStudyError, UnknownSlideError, InvalidInputError
        NotTrainedError
            If there is no mask yet.
        ProjectError
            If there is no such project.
        ProjectOpenError
            If QuPath may have it open.
        QuPathError
            If there is no QuPath.
        """
        known = first_answer(self._ledger, SCOPE, request)
        if known is not None:
            return known
        study = self._studies.get(wanted.study)
        with study.lock:
            slides = wanted.slides or [record["id"] for record in study.study.slides]
            names = wanted.classes or [study.study.settings.positive]
        masks = {slide: study.prediction(slide, PREDICTION_S).mask() for slide in slides}
        for mask, name in itertools.product(masks.values(), names):
            class_index(mask, name)
        project = read_project(wanted.project)
        require_qupath()
        require_unopened(project)
        require_closed(project)
        job = self._jobs.start(
            "import",
            f"import/{project.file}",
            lambda handle: self._import(wanted, masks, names, project, handle),
            params={"project": str(project.file), "study": study.id, "slides": slides},
            priority=SHOW,
            worker=self._worker,
        )
        body = {"job": self._jobs.view(job)}
        with self._ledger.transaction() as transaction:
            transaction.remember(SCOPE, request.event_id, request.body_sha256, 202, body)
        return Answer(202, body)

    def _import(
        self,
        wanted: ImportRequest,
        cells: dict[str, CellMask],
        names: list[str],
        project: ProjectFile,
        handle: JobHandle,
    ) -> dict[str, Any]:
        """Import, in the thread for it; each image told is a step at which it may be cancelled."""
        masks: list[Mask] = []
        for slide, mask in cells.items():
            view = self._slides.view(slide)
            path = Path(view["path"])
            masks.append(
                Mask(
                    label=path.name,
                    features=mask_features(mask, wanted.study, names, wanted.kind)["features"],
                    name=path.name,
                    path=path,
                    fingerprint=view["fingerprint"],
                )
            )
        matches = match(masks, project.images, {}, self._workspace.fingerprint_if_readable)
        n_told = 0

        def told(_: dict[str, Any]) -> None:
            nonlocal n_told
            n_told += 1
            handle.report(n_told, len(masks), "importing")

        handle.report(0, len(masks), "importing")
        options = ImportOptions(wanted.kind, wanted.replace)
        rows, folder = import_masks(project, matches, wanted.study, options, told)
        return {"rows": rows, "folder": None if folder is None else str(folder)}
