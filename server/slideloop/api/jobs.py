"""Jobs: work that goes on behind the requests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from slideloop.api.current import service, waiting
from slideloop.api.schemas import Identity, Job, Wait, noun, refusals

blueprint = noun("jobs", "Work that goes on behind the requests.")


class JobPath(BaseModel):
    """Which job."""

    job_id: Identity


@blueprint.get("/jobs/<job_id>", responses={200: Job, **refusals(404)})
def get_job(path: JobPath, query: Wait) -> dict[str, Any]:
    """Return one job, at once when it is finished.

    With `wait`, an unfinished one is answered when it is finished or the seconds are over.
    """
    with waiting(query.wait) as wait_s:
        return service().jobs.wait(path.job_id, wait_s)


@blueprint.delete("/jobs/<job_id>", responses={200: Job, **refusals(404)})
def cancel_job(path: JobPath) -> dict[str, Any]:
    """Cancel one job; one that is finished stays as it is."""
    return service().jobs.cancel(path.job_id)
