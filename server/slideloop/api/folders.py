"""Folders that clients may name files in."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from slideloop.api.current import options
from slideloop.api.schemas import MAX_PATH, Answer, Strict, noun, refusals
from slideloop.errors import FoldersFixedError

blueprint = noun("folders", "Folders that clients may name files in.")


class Folders(Answer):
    """The folders, and whether one more may be allowed."""

    folders: list[str] = Field(description="As the server's machine names them.")
    may_add: bool = Field(description="False on a server that others reach, or with roots given.")


class AllowFolder(Strict):
    """A folder to allow."""

    folder: Annotated[str, Field(min_length=1, max_length=MAX_PATH)] = Field(
        description="A whole path or file URI."
    )


@blueprint.get("/folders", responses={200: Folders})
def list_folders() -> dict[str, Any]:
    """Return the folders that clients may name files in."""
    return _folders()


@blueprint.post("/folders", responses={200: Folders, **refusals(404, 409)})
def allow_folder(body: AllowFolder) -> dict[str, Any]:
    """Allow one more folder, now and at later starts. Twice is once."""
    allowed = options().allowed
    if allowed is None:
        raise FoldersFixedError(
            "This server reads the folders that it was started with, and no others.",
            hint="Whoever runs it can name more with --slides-root.",
        )
    allowed.add(body.folder)
    return _folders()


def _folders() -> dict[str, Any]:
    folders = [str(each) for each in options().roots.folders]
    return {"folders": folders, "may_add": options().allowed is not None}
