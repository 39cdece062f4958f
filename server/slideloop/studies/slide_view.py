"""A slide as it goes over the wire (interfaces.md, Objects).

Owns the shape of the object and what `state` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slideloop.errors import JobCancelledError
from slideloop.features.growing import REASONS
from slideloop.studies.jobs import GO_ON, problem_of

if TYPE_CHECKING:
    from slideloop.features.growing import GrowingStore
    from slideloop.studies.registered import Kept


def slide_view(
    kept: Kept, store: GrowingStore | None, is_indexing: bool, problem: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the wire `slide`.

    Parameters
    ----------
    kept : Kept
    store : GrowingStore or None
        Its features, where they are open; otherwise what is kept of them counts.
    is_indexing : bool
        Whether a job indexes it.
    problem : dict or None
        What is wrong with its features.
    """
    indexed: dict[str, Any] = kept.indexed or {"n": 0, "dropped": {}}
    n, dropped, is_complete = indexed["n"], indexed["dropped"], kept.is_complete
    if store is not None:
        # In this order: a store that becomes complete in between has no fewer patches then.
        is_complete = store.is_complete
        n, dropped = len(store), store.dropped
    elif problem is not None:
        is_complete = False
    state, problem = _state(kept, is_complete, is_indexing, problem)
    grid = kept.grid()
    return {
        "id": kept.id,
        "path": kept.path,
        "fingerprint": kept.fingerprint,
        "width": kept.details["width"],
        "height": kept.details["height"],
        "mpp": kept.details["mpp"],
        "grid": {
            "patch_px": grid.patch_px,
            "stride_px": grid.stride_px,
            "mpp": grid.mpp,
            "patch_px0": grid.patch_px0,
        },
        "filter": kept.identity["filter"],
        "normalisation": kept.normalisation,
        "encoder": kept.identity["encoder"],
        "n_grid": grid.n_cells,
        "n_patches": n if is_complete else None,
        "n_indexed": n,
        "dropped": {reason: dropped.get(reason, 0) for reason in REASONS},
        "complete": is_complete,
        "state": state,
        "problem": problem,
    }


def _state(
    kept: Kept, is_complete: bool, is_indexing: bool, problem: dict[str, Any] | None
) -> tuple[str, dict[str, Any] | None]:
    """Return a slide's state, and what is wrong with it."""
    if is_indexing and not is_complete:
        return "indexing", None
    gone = kept.gone()
    if gone is not None:
        return "missing", problem_of(gone)
    if is_complete:
        return "ready", problem
    return "failed", problem or problem_of(
        JobCancelledError(
            f"The index of {kept.name} is not complete: it was cancelled, or the server ended.",
            hint=GO_ON["index"],
        )
    )
