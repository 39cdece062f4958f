"""What the file of a QuPath project says, read without QuPath.

Owns the reading of `project.qpproj` and of each image's `summary.json`, and the layout of the
folder. Changes nothing; whose content it is, is not trusted.
"""

from __future__ import annotations

import dataclasses
import json
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from slideloop.errors import ProjectError

PROJECT = "project.qpproj"
CLASSES = Path("classifiers") / "classes.json"
DATA = "data.qpdata"
SUMMARY = "summary.json"
_BEGIN, _END = b"\xac\xed\x00\x05", b"t\x00\x03EOF"
"""Of a whole data file: Java's serialisation, and the word that QuPath writes last."""

BACKUP = "data.qpdata.bkp"
"""What QuPath keeps while it writes, and leaves where it was killed meanwhile."""

_MOST_BYTES = 256 * 10**6
_HINT = "Give the .qpproj file of a QuPath project, or its folder."


@dataclass(frozen=True)
class ProjectImage:
    """One image of a project.

    Attributes
    ----------
    id : str
        Of the entry, which names its folder.
    name : str
        As QuPath lists it; need not be that of the file.
    uris : tuple of str
    args : tuple of str
        Of the reader, such as the number of a series.
    wrappers : tuple of str
        What turns, crops or otherwise alters the file's picture, outermost first; "uri" itself is
        none.
    width, height : int or None
        Level-0 pixels, as QuPath noted them.
    is_rgb : bool or None
    metadata : dict of str
    folder : Path
        With its data file; need not exist.
    moved : Path or None
        Its file, where it is not at its URI, but lies to the project as it did when that was saved.
    """

    id: str
    name: str
    uris: tuple[str, ...]
    args: tuple[str, ...]
    wrappers: tuple[str, ...]
    width: int | None
    height: int | None
    is_rgb: bool | None
    metadata: dict[str, str]
    folder: Path
    moved: Path | None = None

    @property
    def path(self) -> Path | None:
        """The file on this machine that it shows; None if it is none, or not one."""
        if self.moved is not None:
            return self.moved
        return local_path(self.uris[0]) if len(self.uris) == 1 else None

    @property
    def is_moved(self) -> bool:
        """Whether its file is not where the project says."""
        return self.moved is not None

    @property
    def data(self) -> Path:
        """Its data file; need not exist."""
        return self.folder / DATA

    def is_cut_off(self) -> bool:
        """Return whether the data file is there, and is not whole.

        QuPath reads such a file as an image without objects, or without end.
        """
        try:
            with self.data.open("rb") as file:
                begin = file.read(len(_BEGIN))
                file.seek(-min(len(_END), self.data.stat().st_size), os.SEEK_END)
                return begin != _BEGIN or file.read() != _END
        except FileNotFoundError:
            return False

    def image_type(self) -> str | None:
        """Return what QuPath noted that it shows, such as "BRIGHTFIELD_H_E"; None if nothing."""
        kind = self._noted().get("imageType")
        return kind if isinstance(kind, str) else None

    def n_objects(self) -> int | None:
        """Return how many objects QuPath noted when it saved the image; None if it did not say."""
        try:
            counted: Any = self._noted()["hierarchy"]
            # QuPath counts the root, where it has noted the types.
            n_roots = counted.get("objectTypeCounts", {}).get("Root objects", 0)
            return int(counted["nObjects"]) - int(n_roots)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def _noted(self) -> dict[str, Any]:
        try:
            noted: Any = json.loads((self.folder / SUMMARY).read_bytes())
        except (OSError, ValueError):
            return {}
        return cast(dict[str, Any], noted) if isinstance(noted, dict) else {}


@dataclass(frozen=True)
class ProjectFile:
    """A project.

    Attributes
    ----------
    file : Path
    version : str or None
        Of the QuPath that wrote it.
    images : tuple of ProjectImage
    classes : tuple of str
        Of its class list; derived ones as "Tumor: Invasive".
    created : int or None
        When it was made, in ms: what it keeps wherever it is moved to.
    """

    file: Path
    version: str | None
    images: tuple[ProjectImage, ...]
    classes: tuple[str, ...]
    created: int | None = None

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.file.parent


def read_project(path: Path) -> ProjectFile:
    """Read a project's own file; neither images nor their data are opened.

    Parameters
    ----------
    path : Path
        The .qpproj file, or the folder with `project.qpproj` in it.

    Raises
    ------
    ProjectError
        If there is none, or it cannot be understood.
    """
    file = (path / PROJECT if path.is_dir() else path).absolute()
    content = _read_json(file)
    images: Any = content.get("images")
    if not isinstance(images, list):
        raise ProjectError(f"{file} lists no images.", hint=_HINT)
    version, created, uri = (content.get(key) for key in ("version", "createTimestamp", "uri"))
    found = [_image(each, file) for each in cast(list[Any], images)]
    if isinstance(uri, str) and local_path(uri) != file:
        found = [_followed(image, uri, file) for image in found]
    return ProjectFile(
        file=file,
        version=version if isinstance(version, str) else None,
        images=tuple(found),
        classes=tuple(_classes(file.parent / CLASSES)),
        created=created if isinstance(created, int) else None,
    )


def copy_project(project: ProjectFile, target: Path) -> None:
    """Copy a project's own file; in the copy, moved images are where they are now.

    Parameters
    ----------
    project : ProjectFile
    target : Path
        File to write.
    """
    raw = project.file.read_bytes()
    moved = {image.id: image.moved for image in project.images if image.moved is not None}
    if moved:
        content = json.loads(raw)
        for each in content["images"]:
            path = moved.get(str(each["entryID"]))
            if path is not None:
                leaf = list(_builders(each["serverBuilder"]))[-1]
                leaf |= {"uris": [path.as_uri()]} if leaf.get("uris") else {"uri": path.as_uri()}
        raw = json.dumps(content).encode()
    target.write_bytes(raw)


def local_path(uri: str) -> Path | None:
    """Return the path that a `file:` URI names, with one slash as Java writes it or with three."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    return Path(url2pathname(parts.path))


def _read_json(file: Path) -> dict[str, Any]:
    if file.suffix.lower() != ".qpproj":
        raise ProjectError(f"{file} is not a .qpproj file.", hint=_HINT)
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ProjectError(f"{file} is too large for a project.", hint=_HINT)
        content: Any = json.loads(file.read_bytes())
    except FileNotFoundError as err:
        raise ProjectError(f"There is no project {file}.", hint=_HINT) from err
    except OSError as err:
        raise ProjectError(
            f"{file} cannot be read: {err.strerror or err}.", hint="Ask for permission to read it."
        ) from err
    except (ValueError, RecursionError) as err:
        raise ProjectError(
            f"{file} is damaged: it is not JSON.",
            hint="QuPath keeps the state before its last save beside it, as project.qpproj.backup.",
        ) from err
    if not isinstance(content, dict):
        raise ProjectError(f"{file} is no QuPath project.", hint=_HINT)
    return cast(dict[str, Any], content)


def _image(content: Any, file: Path) -> ProjectImage:
    try:
        chain = list(_builders(content["serverBuilder"]))
        leaf = chain[-1]
        noted = next((each["metadata"] for each in chain if each.get("metadata")), {})
        uris = leaf.get("uris") or [leaf["uri"]]
        id_ = str(content["entryID"])
        metadata = content.get("metadata") or {}
        return ProjectImage(
            id=id_,
            name=str(content["imageName"]),
            uris=tuple(map(str, uris)),
            args=tuple(map(str, leaf.get("args") or [])),
            wrappers=tuple(str(each.get("builderType")) for each in chain[:-1]),
            width=noted.get("width"),
            height=noted.get("height"),
            is_rgb=noted.get("isRGB"),
            metadata={str(key): str(value) for key, value in metadata.items()},
            folder=file.parent / "data" / str(int(id_)),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as err:
        raise ProjectError(
            f"An image of {file} cannot be understood ({type(err).__name__}: {err}).",
            hint="Open the project in QuPath, save it, and try again.",
        ) from err


def _followed(image: ProjectImage, old: str, file: Path) -> ProjectImage:
    """Find an image's file that was moved together with the project, as QuPath itself looks for it.

    Parameters
    ----------
    image : ProjectImage
    old : str
        URI of the project's file when QuPath last saved it.
    file : Path
        Where it is now.
    """
    path = image.path
    if path is None or path.is_file():
        return image
    then, there = urlsplit(old), urlsplit(image.uris[0])
    if (then.scheme, then.netloc) != (there.scheme, there.netloc):
        return image
    way = posixpath.relpath(unquote(there.path), posixpath.dirname(unquote(then.path)))
    candidate = Path(os.path.normpath(file.parent / way))
    return dataclasses.replace(image, moved=candidate) if candidate.is_file() else image


def _builders(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a server's builder and those that it wraps, the file's own last."""
    for _ in range(32):
        yield content
        inner = content.get("builder")
        if not isinstance(inner, dict):
            return
        content = cast(dict[str, Any], inner)


def _classes(file: Path) -> Iterator[str]:
    try:
        content: Any = json.loads(file.read_bytes())
        for each in content["pathClasses"]:
            name: Any = each.get("names") or each.get("name")
            if name:
                yield ": ".join(cast(list[str], name)) if isinstance(name, list) else str(name)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return
