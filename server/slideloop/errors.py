"""The errors a user can meet: what went wrong, a stable code, and what to do about it.

Owns the error tree and nothing else; every other module may import it, it imports none of them.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


class SlideloopError(Exception):
    """A fault that can be said in one sentence, with a way out.

    Parameters
    ----------
    message : str
        One sentence that names the thing and the facts.
    hint : str
        What the user can do about it.

    Attributes
    ----------
    code : str
        Stable name of the error for programs.
    http_status : int
        Status of the answer when the error ends a request.
    retry : bool
        Whether the same request may be sent again unchanged.
    """

    code: str = "invalid"
    http_status: int = 422
    retry: bool = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def problem(self, request_id: str | None = None) -> dict[str, Any]:
        """Return it as problem+json (interfaces.md, Errors).

        Parameters
        ----------
        request_id : str or None
            None where no request failed: a job, a slide's index.
        """
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.http_status).phrase,
            "status": self.http_status,
            "code": self.code,
            "detail": self.message,
            "hint": self.hint,
            "retry": self.retry,
            "request_id": request_id,
        }

    @classmethod
    def of_status(cls, status: int, code: str, message: str, hint: str) -> SlideloopError:
        """Return an error of a code that no class of the tree has."""
        err = cls(message, hint=hint)
        err.code, err.http_status = code, status
        return err


class InvalidInputError(SlideloopError):
    """A value that makes no sense where it stands."""


class SlideNotFoundError(SlideloopError):
    """No regular file at the given path."""

    code = "file_not_found"
    http_status = 404


class FoldersFixedError(SlideloopError):
    """A folder to allow, on a server that was started with its folders."""

    code = "folders_fixed"
    http_status = 409


class UnreadableSlideError(SlideloopError):
    """A file that no reader opens, or that asks for more than the limits allow."""

    code = "unreadable_slide"


class NotRgbError(SlideloopError):
    """A slide whose pixels are not 8-bit RGB (fluorescence, 16 bit)."""

    code = "not_rgb"


class SlideChangedError(SlideloopError):
    """A slide file that was changed in place since it was first seen."""

    code = "slide_changed"
    http_status = 409


class MppNeededError(SlideloopError):
    """A physical patch size was asked for, but the slide does not say its um/px."""

    code = "mpp_needed"


class GridError(SlideloopError):
    """A grid that cannot be laid on the slide."""


class NoTissueError(SlideloopError):
    """No patch of the slide passes the filter."""

    code = "on_glass"


class OutsideSlideError(SlideloopError):
    """A rectangle that lies outside the slide."""

    code = "outside_slide"


class OnGlassError(SlideloopError):
    """A query that lies on dropped patches and white pixels only."""

    code = "on_glass"


class WeightsError(SlideloopError):
    """Weights that cannot be had, read, or used with the encoder."""

    code = "weights_unusable"


class StoreDamagedError(SlideloopError):
    """A feature store whose bytes are not the ones that were written."""

    code = "store_damaged"
    http_status = 409


class StoreMismatchError(SlideloopError):
    """A feature store made for something else than what it is asked for."""

    code = "store_mismatch"
    http_status = 409


class NormalisationMismatchError(SlideloopError):
    """Slides of one study whose features were normalised differently."""

    code = "normalisation_mismatch"
    http_status = 409


class PoolExhaustedError(SlideloopError):
    """Nothing left to show."""

    code = "pool_exhausted"
    http_status = 409


class StudyStateError(SlideloopError):
    """A request that does not fit the state of the study."""

    code = "no_session"
    http_status = 409


class StaleRoundError(StudyStateError):
    """A label for a round that is not the open one."""

    code = "stale_round"


class NotInRoundError(StudyStateError):
    """A label for a patch that the open round does not show."""

    code = "not_in_round"


class ClassRefusedError(SlideloopError):
    """A class name that a study cannot have."""

    code = "class_refused"


class QueryNotRelevantError(SlideloopError):
    """A query of another class than the one sought, in relevance mode."""

    code = "query_not_relevant"


class NotTrainedError(StudyStateError):
    """A prediction was asked for before two classes were labelled."""

    code = "not_trained"


class TruthError(SlideloopError):
    """A truth that cannot be used with the slide."""

    code = "truth_unusable"


class GeometryError(SlideloopError):
    """A geometry that is not a valid polygon of the slide."""

    code = "geometry_invalid"


class JournalError(SlideloopError):
    """A journal whose chain does not hold, or of a newer version."""

    code = "journal_invalid"
    http_status = 409


class OutputError(SlideloopError):
    """A folder or file that cannot be written."""

    code = "output_unwritable"
    http_status = 409


class UnsupportedMediaTypeError(SlideloopError):
    """A body that is not declared as JSON."""

    code = "unsupported_media_type"
    http_status = 415


class UnauthorizedError(SlideloopError):
    """A request without the token, or with another one."""

    code = "unauthorized"
    http_status = 401


class ForbiddenOriginError(SlideloopError):
    """A request that a web page of somebody else sent."""

    code = "forbidden_origin"
    http_status = 403


class ForbiddenHostError(SlideloopError):
    """A request under a host name that the server does not go by."""

    code = "forbidden_host"
    http_status = 403


class UnknownSlideError(SlideloopError):
    """A slide id that the workspace, or the study, does not have."""

    code = "unknown_slide"
    http_status = 404


class UnknownStudyError(SlideloopError):
    """A study id that the workspace does not have."""

    code = "unknown_study"
    http_status = 404


class UnknownJobError(SlideloopError):
    """A job id that the workspace does not have."""

    code = "unknown_job"
    http_status = 404


class UnknownPatchError(SlideloopError):
    """A patch id that no round of the study has shown."""

    code = "unknown_patch"
    http_status = 404


class EventIdReusedError(SlideloopError):
    """An event id that was used for another request."""

    code = "event_id_reused"
    http_status = 409


class NothingToUndoError(StudyStateError):
    """No label, region or query is left to take back."""

    code = "nothing_to_undo"


class NotPredictedError(StudyStateError):
    """A slide whose prediction nobody asked for."""

    code = "not_predicted"


class SlideSizeDiffersError(SlideloopError):
    """A slide whose size in QuPath is not the reader's."""

    code = "slide_size_differs"
    http_status = 409


class SlideMppDiffersError(SlideloopError):
    """A slide whose um/px in QuPath is not the reader's."""

    code = "slide_mpp_differs"
    http_status = 409


class SlidePixelsDifferError(SlideloopError):
    """A slide whose colours in QuPath are not the reader's: rotated, another plane or file."""

    code = "slide_pixels_differ"
    http_status = 409


class ServerTypeUnsupportedError(SlideloopError):
    """A slide that QuPath shows transformed, or by a server that is not known."""

    code = "server_type_unsupported"


class BusyError(SlideloopError):
    """The server has no room for the request now."""

    code = "busy"
    http_status = 503
    retry = True


class WorkspaceError(SlideloopError):
    """A workspace that cannot be used: on a network drive, or of a newer version."""

    code = "workspace_unusable"
    http_status = 409


class WorkspaceBusyError(WorkspaceError):
    """A workspace that another process holds."""

    code = "workspace_busy"


class JobCancelledError(SlideloopError):
    """A job that was cancelled, or cut off by the end of the server."""

    code = "cancelled"
    http_status = 409


class ProjectError(SlideloopError):
    """A QuPath project that is not there, cannot be read, or must not be written."""

    code = "project_unusable"


class ProjectOpenError(ProjectError):
    """A project that somebody has open, or saved just now."""

    code = "project_open"
    http_status = 409


class QuPathError(SlideloopError):
    """QuPath is not here, or does not do what it is asked for."""

    code = "qupath_unusable"


class ClusterError(SlideloopError):
    """A cluster that lost its workers or its scheduler, or stumbled over a slide."""

    code = "cluster_failed"
    http_status = 503
    retry = True
