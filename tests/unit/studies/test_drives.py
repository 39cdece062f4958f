"""Network drives are told by what the three systems say of their mounts."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from slideloop.studies.drives import on_linux, on_macos, on_windows, require_local_drive

LINUX = r"""27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:30 / /home rw,relatime shared:1 master:2 - nfs4 server:/home rw,vers=4.2
31 30 0:31 / /home/ann rw - xfs /dev/sdb rw
32 27 0:32 / /mnt/c rw,noatime - 9p drvfs rw,dirsync
33 27 0:33 / /media/my\040share rw - cifs //nas/share rw
34 27 0:34 / /mnt/cloud rw - fuse.sshfs ann@host: rw
35 27 0:35 / /mnt/usb rw - fuse.ntfs-3g /dev/sdc1 rw
36 27 0:36 / /mnt/both rw - nfs4 server:/old rw
37 36 0:37 / /mnt/both rw - ext4 /dev/sdd rw
a line that is not one
"""


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("/", None),
        ("/data/x", None),
        ("/home", "nfs4 at /home"),
        ("/home/bob/slideloop", "nfs4 at /home"),
        ("/homes/bob", None),
        ("/home/ann/slideloop", None),
        ("/mnt/c/Users", "9p at /mnt/c"),
        ("/media/my share/slideloop", "cifs at /media/my share"),
        ("/mnt/cloud/a", "fuse.sshfs at /mnt/cloud"),
        ("/mnt/usb/a", None),
        ("/mnt/both/a", None),
    ],
)
def test_linux_says_it_in_mountinfo(path: str, remote: str | None) -> None:
    assert on_linux(PurePosixPath(path), LINUX) == remote


def test_the_root_of_a_container_may_be_9p() -> None:
    assert on_linux(PurePosixPath("/data"), "1 0 0:1 / / rw - 9p none rw") is None


def test_an_empty_table_refuses_nothing() -> None:
    assert on_linux(PurePosixPath("/data"), "") is None
    assert on_macos(PurePosixPath("/data"), "") is None


MACOS = """/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse)
//ann@nas._smb._tcp.local/share on /Volumes/share (smbfs, nodev, nosuid, mounted by ann)
server:/home on /Volumes/nfs home (nfs, nodev, nosuid)
/dev/disk4s1 on /Volumes/USB (1) (msdos, local, nodev)
"""


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("/Users/ann/slideloop", None),
        ("/Volumes/share/slideloop", "smbfs at /Volumes/share"),
        ("/Volumes/nfs home/x", "nfs at /Volumes/nfs home"),
        ("/Volumes/USB (1)/x", None),
    ],
)
def test_macos_says_it_by_mount(path: str, remote: str | None) -> None:
    assert on_macos(PurePosixPath(path), MACOS) == remote


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        (r"C:\Users\ann", None),
        (r"\\nas\share\slideloop", r"\\nas\share"),
        ("//nas/share/slideloop", r"\\nas\share"),
        (r"\\?\C:\Users", None),
        (r"\\?\UNC\nas\share\x", r"\\nas\share"),
        (r"slideloop", None),
    ],
)
def test_windows_says_it_in_the_path(path: str, remote: str | None) -> None:
    assert on_windows(PureWindowsPath(path)) == remote


def test_this_machine_s_temporary_folder_will_do(tmp_path: Path) -> None:
    require_local_drive(tmp_path / "not" / "there yet")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_symlink_is_followed_to_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")
    require_local_drive(tmp_path / "link")
