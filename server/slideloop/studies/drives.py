"""Which drives a workspace may lie on: SQLite's write-ahead log is unsafe on network drives.

Owns the names of file systems and the ways of Linux, macOS and Windows to tell them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path, PurePath, PureWindowsPath

from slideloop.errors import WorkspaceError

_NAMES = """
nfs nfs3 nfs4 cifs smb smb2 smb3 smbfs ncpfs afs afpfs coda davfs webdav lustre gpfs beegfs
ceph glusterfs orangefs pvfs2 gfs2 ocfs2 panfs vboxsf vmhgfs prl_fs drvfs acfs
sshfs rclone s3fs goofys gcsfuse gvfsd-fuse juicefs davfs2 grpcfuse osxfs vmhgfs-fuse
smbnetfs curlftpfs mfs moosefs
"""
_REMOTE = frozenset(_NAMES.split())
"""Types of file systems that other machines may write to, without `fuse.` before them."""

_MACOS_LINE = re.compile(r"^(?P<what>.*) on (?P<where>/.*) \((?P<flags>[^()]*)\)$")
_DRIVE_REMOTE = 4


def require_local_drive(path: Path) -> None:
    """Refuse a workspace on a network drive.

    Parameters
    ----------
    path : Path
        Need not exist.

    Raises
    ------
    WorkspaceError
        If it lies on a drive that other machines may write to; says on which.
    """
    remote = _remote_drive(path)
    if remote:
        raise WorkspaceError(
            f"The workspace {path} lies on a network drive ({remote}), where SQLite's write-ahead "
            "log is unsafe: labels could be lost.",
            hint="Choose a folder on a drive of this computer with --workspace DIR.",
        )


def _remote_drive(path: Path) -> str | None:
    if sys.platform == "win32":
        return on_windows(path) or _windows_drive_type(path)
    resolved = path.resolve()
    if sys.platform == "darwin":
        return on_macos(resolved, _macos_mounts())
    if sys.platform == "linux":
        try:
            table = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
        except OSError:
            return None
        return on_linux(resolved, table)
    return None


def on_linux(path: PurePath, table: str) -> str | None:
    """Find the network file system that a path lies on.

    Parameters
    ----------
    path : PurePath
        Absolute, symlinks resolved.
    table : str
        Text of /proc/self/mountinfo.

    Returns
    -------
    str or None
        Type and place, such as "nfs4 at /home"; None: it is local.
    """
    best: tuple[int, str, str] | None = None
    for line in table.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        where, kind = _unescaped(fields[4]), after.split(" ")[0]
        # A later mount at the same place hides the earlier one.
        if path.is_relative_to(where) and (best is None or len(where) >= best[0]):
            best = len(where), where, kind
    if best is None:
        return None
    _, where, kind = best
    bare = kind.removeprefix("fuse.").lower()
    # 9p is a shared folder of a virtual machine (or of Windows), but the root of some containers.
    is_remote = bare in _REMOTE or (bare == "9p" and where != "/")
    return f"{kind} at {where}" if is_remote else None


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def on_macos(path: PurePath, table: str) -> str | None:
    """Find the network file system that a path lies on.

    Parameters
    ----------
    path : PurePath
        Absolute, symlinks resolved.
    table : str
        What `mount` prints; local file systems have `local` among their flags.

    Returns
    -------
    str or None
        Type and place, such as "smbfs at /Volumes/share"; None: it is local.
    """
    best: tuple[int, str, list[str]] | None = None
    for line in table.splitlines():
        found = _MACOS_LINE.match(line)
        if found and path.is_relative_to(found["where"]):
            flags = [flag.strip() for flag in found["flags"].split(",")]
            if best is None or len(found["where"]) >= best[0]:
                best = len(found["where"]), found["where"], flags
    if best is None or "local" in best[2]:
        return None
    return f"{best[2][0]} at {best[1]}"


def _macos_mounts() -> str:
    try:
        found = subprocess.run(
            ["/sbin/mount"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout


def on_windows(path: PurePath) -> str | None:
    r"""Say whether a path names another machine: \\host\share.

    Returns
    -------
    str or None
        Host and share; None: it names none.
    """
    drive = PureWindowsPath(path).drive.replace("/", "\\")
    if not drive.startswith("\\\\"):
        return None
    rest = drive[2:]
    if rest[:2] in ("?\\", ".\\"):
        rest = rest[2:]
        if not rest.upper().startswith("UNC\\"):
            return None
        rest = rest[4:]
    return rf"\\{rest}"


def _windows_drive_type(path: Path) -> str | None:
    if sys.platform != "win32":
        return None
    import ctypes

    root = path.resolve().anchor
    kind = ctypes.windll.kernel32.GetDriveTypeW(root)
    return on_windows(path.resolve()) or (f"drive {root}" if kind == _DRIVE_REMOTE else None)
