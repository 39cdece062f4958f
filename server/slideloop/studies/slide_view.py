"""A slide as it goes over the wire (interfaces.md, Objects).

Owns the shape of the object and what `state` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slideloop.errors import JobCancelledError
from slideloop.features.growing import REASONS
from slideloop.studies.jobs import GO_ON

if TYPE_CHECKING:
    from slideloop.features.growing import GrowingStore
    from slideloop.slides.grid import Grid
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
        "grid": grid_view(grid),
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


def grid_view(grid: Grid) -> dict[str, Any]:
    """Return the wire `grid`."""
    names = ("patch_px", "stride_px", "mpp", "patch_px0", "stride_px0")
    return {name: getattr(grid, name) for name in names}


def _state(
    kept: Kept, is_complete: bool, is_indexing: bool, problem: dict[str, Any] | None
) -> tuple[str, dict[str, Any] | None]:
    """Return a slide's state, and what is wrong with it."""
    if is_indexing and not is_complete:
        return "indexing", None
    gone = kept.gone()
    if gone is not None:
        return "missing", gone.problem()
    if is_complete:
        return "ready", problem
    cut_off = JobCancelledError(
        f"The index of {kept.name} is not complete: it was cancelled, or the server ended.",
        hint=GO_ON["index"],
    )
    return "failed", problem or cut_off.problem()
