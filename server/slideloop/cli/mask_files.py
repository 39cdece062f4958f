"""What the files of masks are called: two slides may have one name, so their content is in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from slideloop.features.sources import SlidePatches

_NAMED = re.compile(r"(?P<stem>.+)-(?P<fingerprint>[0-9a-f]{8})")


def file_stem(source: SlidePatches) -> str:
    """Return what the mask of a slide is called, without the ending."""
    stem = re.sub(r"[^\w.-]+", "_", source.reader.info.path.stem)[:80]
    return f"{stem}-{source.identity['fingerprint'][:8]}"


def parts_of(file: Path) -> tuple[str, str | None]:
    """Return the name of a mask's slide, and the beginning of its fingerprint, None if not said."""
    name = file.name.removesuffix(".gz").removesuffix(".geojson").removesuffix(".json")
    named = _NAMED.fullmatch(name)
    return (named["stem"], named["fingerprint"]) if named else (name, None)
