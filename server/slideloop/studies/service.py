"""Everything the server holds, opened in order and closed in order.

Owns the assembly; the parts know nothing of HTTP.
"""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slideloop.features.encoders import load_encoder
from slideloop.features.workspace import Workspace
from slideloop.learning.chunks import libraries
from slideloop.studies.imports import Imports
from slideloop.studies.jobs import Jobs
from slideloop.studies.ledger import Ledger, hold_workspace, open_ledger, require_local_drive
from slideloop.studies.slides import SlideRegister
from slideloop.studies.studies import Studies
from slideloop.studies.worker import SHOW, Worker

if TYPE_CHECKING:
    from slideloop.features.encoders import Encoder
    from slideloop.settings import Settings


@dataclass
class Service:
    """A workspace in service; `close` it."""

    settings: Settings
    workspace: Workspace
    ledger: Ledger
    encoder: Encoder
    worker: Worker
    jobs: Jobs
    slides: SlideRegister
    studies: Studies
    imports: Imports
    _open: ExitStack

    def close(self) -> None:
        """Stop the work under way, and close everything; a second time does nothing."""
        self._open.close()


def open_service(settings: Settings) -> Service:
    """Open a workspace for serving, and go on with what was cut off.

    Raises
    ------
    WorkspaceError
        If it lies on a network drive, or another process holds it.
    WeightsError
        If the encoder's weights cannot be had.
    OutputError
        If the workspace cannot be written.
    """
    with ExitStack() as stack:
        require_local_drive(settings.workspace)
        workspace = Workspace(settings.workspace)
        stack.callback(workspace.close)
        stack.enter_context(hold_workspace(settings.workspace))
        encoder = load_encoder(
            settings.encoder, settings.weights, settings.device, settings.precision
        )
        ledger = open_ledger(settings.workspace)
        stack.callback(ledger.close)
        worker = Worker()
        stack.callback(worker.close)
        worker.submit(SHOW, "libraries", _load_libraries)
        jobs = Jobs(ledger, worker)
        slides = SlideRegister(ledger, workspace, encoder, settings, worker, jobs)
        stack.callback(slides.close)
        folder = settings.workspace / "studies"
        studies = Studies(folder, ledger, slides, encoder, worker, jobs)
        stack.callback(studies.close)
        studies.resume()
        imports = Imports(ledger, workspace, slides, studies, jobs)
        stack.callback(imports.close)
        return Service(
            settings,
            workspace,
            ledger,
            encoder,
            worker,
            jobs,
            slides,
            studies,
            imports,
            stack.pop_all(),
        )


def _load_libraries() -> None:
    """Load what the first training and ranking need, so that they do not wait for it."""
    libraries()
    importlib.import_module("faiss")
