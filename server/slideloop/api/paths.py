r"""Which files a client may name, and in which words.

Owns the way from the text that a client sends (a path of its own machine, or a file URI) to a file
below one of the server's folders. What is only looked at as text comes first: a Windows share that
lies under no folder is refused before any network is touched.
"""

from __future__ import annotations

import ntpath
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from slideloop.errors import InvalidInputError, SlideNotFoundError

HERE: type[PurePath] = PureWindowsPath if os.name == "nt" else PurePosixPath
"""How paths of this machine read."""

_SHOWN = 200
"""Characters of a client's text that are repeated."""
_WINDOWS_LIKE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_SLASHES = re.compile(r"[\\/]{2,}")
_DRIVE = re.compile(r"/+[A-Za-z]:(/|$)")


@dataclass(frozen=True)
class Mapping:
    """A folder as clients call it, and as this machine does (`--map CLIENT=SERVER`).

    Parameters
    ----------
    client : PurePath
        Windows-like prefixes are compared without regard to case and to the kind of slash.
    server : PurePath
    """

    client: PurePath
    server: PurePath

    def translate(self, path: PurePath) -> PurePath | None:
        """Return a client's path in the server's words; None if it is not below the prefix."""
        if type(path) is not type(self.client) or not path.is_relative_to(self.client):
            return None
        return self.server.joinpath(*path.relative_to(self.client).parts)


class Roots:
    """The folders that clients may name files in.

    Parameters
    ----------
    folders : sequence of Path
        None: the current folder.
    maps : sequence of Mapping
        The longest prefix that fits is taken.
    flavour : type
        How paths of this machine read; another one lets the rules of Windows be tried elsewhere,
        as far as no file is looked at.

    Raises
    ------
    InvalidInputError
        If one of the folders is none.
    """

    def __init__(
        self,
        folders: Sequence[PurePath] = (),
        maps: Sequence[Mapping] = (),
        flavour: type[PurePath] = HERE,
    ) -> None:
        self._flavour = flavour
        self._maps = sorted(maps, key=lambda item: len(item.client.parts), reverse=True)
        named = folders or (Path.cwd(),)
        self.folders = [_real_folder(f) if flavour is HERE else f for f in named]
        # A share may be called by the name that was given, or by the one behind it.
        self._shares = [f for f in (*map(flavour, named), *self.folders) if is_share(f)]

    def find(self, text: str) -> Path:
        """Find the regular file that a client means.

        Parameters
        ----------
        text : str
            A path of the client's machine, or a file URI.

        Returns
        -------
        Path
            Absolute, without symbolic links, below one of the folders.

        Raises
        ------
        SlideNotFoundError
            For everything else, in the same words: who asks learns nothing of other files.
        """
        path = self.translated(text)
        try:
            real = Path(os.path.realpath(path, strict=True))
            is_file = stat.S_ISREG(real.stat().st_mode)
        except (OSError, ValueError) as err:
            raise self._not_found(text, path) from err
        if not is_file or not any(real.is_relative_to(folder) for folder in self.folders):
            raise self._not_found(text, path)
        return real

    def find_folder(self, text: str) -> Path:
        """Find a folder anywhere that a client means; it is not allowed by this.

        Parameters
        ----------
        text : str
            A path of the client's machine, or a file URI. A share is asked for.

        Returns
        -------
        Path
            Absolute, without symbolic links.

        Raises
        ------
        SlideNotFoundError
            If there is no such folder.
        """
        path = _client_path(text)
        if path is not None:
            path = self._mapped(path)
            if type(path) is self._flavour and not _is_device(path):
                with suppress(OSError, ValueError, RuntimeError):
                    real = Path(path).resolve(strict=True)
                    if real.is_dir():
                        return real
        raise SlideNotFoundError(
            f"There is no folder {_shown(text)!r} on the server's machine.",
            hint="Give the whole path of a folder, or its URI.",
        )

    def allow(self, folder: Path) -> None:
        """Let clients name files in one more folder.

        Parameters
        ----------
        folder : Path
            As `find_folder` gives it.
        """
        if folder not in self.folders:
            self.folders = [*self.folders, folder]
            self._shares = [*self._shares, *filter(is_share, [folder])]

    def translated(self, text: str) -> PurePath:
        """Return what a client means in the words of this machine; looks at no file.

        Raises
        ------
        SlideNotFoundError
            If it is no whole path, or a share that lies under no folder.
        """
        path = _client_path(text)
        if path is None:
            raise self._not_found(text, None)
        path = self._mapped(path)
        if is_share(path):
            path = PureWindowsPath(ntpath.normpath(path))
            if not any(path.is_relative_to(share) for share in self._shares):
                raise self._not_found(text, path)
        if type(path) is not self._flavour or not path.is_absolute() or _is_device(path):
            raise self._not_found(text, path)
        return path

    def _mapped(self, path: PurePath) -> PurePath:
        """Return a client's path in the server's words, where a prefix says how."""
        translated = (mapping.translate(path) for mapping in self._maps)
        return next((each for each in translated if each is not None), path)

    def _not_found(self, text: str, path: PurePath | None) -> SlideNotFoundError:
        """Return the refusal of a file; its words follow from the text alone, not from any file.

        Parameters
        ----------
        text : str
            What the client said.
        path : PurePath or None
            What it means here, as far as that was found out.
        """
        client = _client_path(text)
        there = "" if path in (None, client) else f", where it would be {_shown(str(path))!r}"
        message = f"There is no file {_shown(text)!r} in the folders that the server reads{there}."
        if client is None:
            hint = "Give the whole path of a file, or its URI."
        elif path is not None and any(path.is_relative_to(folder) for folder in self.folders):
            hint = "Look whether the file is there, and may be read by the server."
        else:
            hint = (
                f"The server reads below {', '.join(map(str, self.folders))}. If that is the "
                "client's folder under another name, start the server with "
                f"--map '{_shown(str(client.parent))}={self.folders[0]}'; otherwise give it "
                "--slides-root."
            )
        return SlideNotFoundError(message, hint=hint)


def read_mapping(text: str, flavour: type[PurePath] = HERE) -> Mapping:
    """Read `CLIENT=SERVER`.

    Raises
    ------
    InvalidInputError
        If a side is missing or no whole path.
    """
    client_text, _, server_text = text.partition("=")
    client = _client_path(client_text)
    server = flavour(server_text)
    if client is None or not server.is_absolute():
        raise InvalidInputError(
            f"--map {text!r} does not name two whole paths.",
            hint=r"Such as --map Z:\slides=/srv/slides or --map //host/share=/srv/slides.",
        )
    return Mapping(client, server)


def is_share(path: PurePath) -> bool:
    r"""Whether a path leads to another machine or a device: `\\host\share`, `\\?\`, `\\.\`."""
    return isinstance(path, PureWindowsPath) and path.drive.startswith("\\\\")


def _client_path(text: str) -> PurePath | None:
    """Read a path or file URI; None if it is no whole path of any system."""
    if text[:5].lower() == "file:":
        try:
            text = _of_uri(text[5:])
        except UnicodeDecodeError:
            return None
    if "\0" in text:
        return None
    slashes = _SLASHES.match(text)
    if slashes:
        text = "\\\\" + text[slashes.end() :]
    path = PureWindowsPath(text) if _WINDOWS_LIKE.match(text) else PurePosixPath(text)
    return path if path.is_absolute() else None


def _of_uri(rest: str) -> str:
    """Return the path of a file URI, from what stands behind `file:`.

    Java writes one slash, others three; two name a host, four a share. A `#` or `?` that was not
    escaped belongs to the name: no file URI has a use for them.
    """
    if rest.startswith("//") and not rest.startswith("///"):
        host, slash, path = rest[2:].partition("/")
        rest = slash + path if host.lower() in ("", "localhost") else rest
    elif rest.startswith("///") and not rest.startswith("////"):
        rest = rest[2:]
    path = unquote(rest, errors="strict")
    if _DRIVE.match(path):
        return path.lstrip("/")
    return path


def _real_folder(folder: PurePath) -> Path:
    try:
        real = Path(folder).resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as err:
        raise _no_folder(folder) from err
    if not real.is_dir():
        raise _no_folder(folder)
    return real


def _no_folder(folder: PurePath) -> InvalidInputError:
    return InvalidInputError(
        f"There is no folder {str(folder)!r}.", hint="Name folders that exist."
    )


def _is_device(path: PurePath) -> bool:
    """Whether Windows would take a part of the name for a device or a stream of another file."""
    if not isinstance(path, PureWindowsPath):
        return False
    parts = path.parts[1:]
    return any(":" in part or PureWindowsPath(part).is_reserved() for part in parts)


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
