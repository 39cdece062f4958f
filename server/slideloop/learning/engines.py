"""The engines by name (algorithm.md 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slideloop.errors import InvalidInputError

if TYPE_CHECKING:
    from slideloop.features.encoders import Encoder
    from slideloop.learning.engine import Engine
    from slideloop.learning.heads import TrainingSettings

ENGINES = ("linear", "faithful")
"""Names, the default on a CPU first."""

SESSION_START = {"linear": "current", "faithful": "pretrained"}
"""Which models serve a session's first round, by engine (algorithm.md 3.5)."""


def create_engine(name: str, encoder: Encoder, settings: TrainingSettings) -> Engine:
    """Make an engine by name.

    Raises
    ------
    InvalidInputError
        If there is none of that name.
    """
    if name == "linear":
        from slideloop.learning.linear import LinearEngine

        return LinearEngine()
    if name == "faithful":
        from slideloop.learning.faithful import FaithfulEngine

        return FaithfulEngine(encoder, settings)
    raise InvalidInputError(
        f"There is no engine {name!r}.", hint=f"Known engines: {', '.join(ENGINES)}."
    )
