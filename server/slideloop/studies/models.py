"""The models of a study's trainings, kept so that none is trained twice.

Owns the folder of checkpoints. They are a cache: named by the digest of what they hold, written
aside and renamed, trained again when missing or damaged.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from slideloop.errors import OutputError, StoreDamagedError
from slideloop.files import whole_file

if TYPE_CHECKING:
    from pathlib import Path

    from slideloop.learning.engine import Engine, Models

_log = logging.getLogger(__name__)

N_IN_MEMORY = 3
"""Trainings whose models stay in memory: what an undo or two goes back to."""


class ModelKeeper:
    """Models by their digest.

    Parameters
    ----------
    engine : Engine
        Turns models into bytes and back.
    folder : Path, optional
        Where they are kept; None: in memory only.
    """

    def __init__(self, engine: Engine, folder: Path | None = None) -> None:
        self._engine, self._folder = engine, folder
        self._models: dict[str, Models] = {}

    def keep(self, digest: str, models: Models) -> None:
        """Keep models under a digest, their own or the one that was recorded for them."""
        self._remember(digest, models)
        if self._folder is None or models.digest != digest:
            return
        data = self._engine.to_bytes(models)
        if data is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with whole_file(self._folder / f"{digest}.pt") as path:
                path.write_bytes(data)
        except (OutputError, OSError) as err:
            _log.warning("Models could not be kept, they are trained again when needed: %s", err)

    def get(self, digest: str) -> Models | None:
        """Return models by their digest, or None if they must be trained again."""
        if digest in self._models:
            return self._models[digest]
        if self._folder is None:
            return None
        path = self._folder / f"{digest}.pt"
        try:
            models = self._engine.from_bytes(path.read_bytes())
        except FileNotFoundError:
            return None
        except (StoreDamagedError, OSError) as err:
            _log.warning("The models in %s are damaged and are trained again: %s", path, err)
            return None
        if models.digest != digest:
            _log.warning("The models in %s are not those of its name; trained again.", path)
            return None
        self._remember(digest, models)
        return models

    def _remember(self, digest: str, models: Models) -> None:
        self._models.pop(digest, None)
        self._models[digest] = models
        while len(self._models) > N_IN_MEMORY:
            self._models.pop(next(iter(self._models)))
