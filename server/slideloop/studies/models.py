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

N_IN_MEMORY = 16
"""Trainings, of all studies, whose models stay in memory: what is worked on, and what an undo or
two goes back to. The trained heads of one take some 60 MB on a slide of 12,500 patches."""


class ModelMemory:
    """Models in memory, those used last; shared by all studies of a server."""

    def __init__(self) -> None:
        self._models: dict[tuple[int, str], Models] = {}

    def get(self, key: tuple[int, str]) -> Models | None:
        """Return models, and count that as a use."""
        models = self._models.pop(key, None)
        if models is not None:
            self._models[key] = models
        return models

    def put(self, key: tuple[int, str], models: Models) -> None:
        """Keep models in place of those that were not used for longest."""
        self._models.pop(key, None)
        self._models[key] = models
        while len(self._models) > N_IN_MEMORY:
            self._models.pop(next(iter(self._models)))


class ModelKeeper:
    """Models by their digest.

    Parameters
    ----------
    engine : Engine
        Turns models into bytes and back.
    folder : Path, optional
        Where they are kept; None: in memory only.
    memory : ModelMemory, optional
        None: one of its own.
    """

    def __init__(
        self, engine: Engine, folder: Path | None = None, memory: ModelMemory | None = None
    ) -> None:
        self._engine, self._folder = engine, folder
        self._memory = memory or ModelMemory()

    def keep(self, digest: str, models: Models) -> None:
        """Keep models under a digest, their own or the one that was recorded for them."""
        self._memory.put((id(self), digest), models)
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
        models = self._memory.get((id(self), digest))
        if models is not None:
            return models
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
        self._memory.put((id(self), digest), models)
        return models
