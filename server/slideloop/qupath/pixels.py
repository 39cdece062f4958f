"""Whether QuPath shows an image as it is read here, so that a mask lies in it where it should."""

from __future__ import annotations

from typing import Any

from slideloop.errors import SlideloopError
from slideloop.qupath.project_file import ProjectImage
from slideloop.slides.agreement import check_agreement, probe_places
from slideloop.slides.reader import SlideReader, open_slide

SAME, NOT_COMPARED = "same", "not_compared"


def places(image: ProjectImage) -> list[dict[str, int]]:
    """Return rectangles to be compared, level-0 pixels; none if the image is not read here."""
    reader = _opened(image)
    if reader is None:
        return []
    with reader:
        try:
            return probe_places(reader)
        except SlideloopError:
            return []


def compare(image: ProjectImage, shown: dict[str, Any]) -> str:
    """Refuse an image that QuPath shows otherwise than it is read here.

    Parameters
    ----------
    image : ProjectImage
    shown : dict
        What QuPath shows: `width, height, server_type, probe`, the latter as of `check_agreement`.

    Returns
    -------
    {"same", "not_compared"}
        The latter where the image cannot be read here.

    Raises
    ------
    ServerTypeUnsupportedError, SlideSizeDiffersError, SlidePixelsDifferError
    """
    reader = _opened(image)
    if reader is None:
        return NOT_COMPARED
    with reader:
        check_agreement(reader.info, reader, **shown)
    return SAME if shown["probe"] else NOT_COMPARED


def _opened(image: ProjectImage) -> SlideReader | None:
    try:
        return None if image.path is None else open_slide(image.path)
    except SlideloopError:
        return None
