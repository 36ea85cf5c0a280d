"""The file system of a path: its type, and its free space; and a directory for temporary files.

SQLite's write-ahead log needs shared memory and byte-range locks, which network file systems do not fully support.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import NamedTuple

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs"}
)
_NETWORK_FUSE = frozenset(
    {"sshfs", "glusterfs", "ceph", "ceph-fuse", "rclone", "s3fs", "gcsfuse", "goofys", "davfs", "juicefs"}
)


class FileSystem(NamedTuple):
    """A file system's type, as the kernel calls it, and its free bytes and inodes for this user.

    None: it has no inodes.
    """

    type: str
    network: bool
    free_bytes: int
    size_bytes: int
    free_inodes: int | None


def find_file_system(path: Path) -> FileSystem:
    """Return the file system of `path`, or of its nearest existing parent."""
    there = path
    while not os.path.exists(there) and there != there.parent:  # noqa: PTH110 - hidden counts as absent
        there = there.parent
    status = os.statvfs(there)
    kind = find_type(_read_mounts(), Path(os.path.realpath(there)))
    return FileSystem(
        kind,
        kind in _NETWORK or kind.removeprefix("fuse.") in _NETWORK_FUSE,
        status.f_bavail * status.f_frsize,
        status.f_blocks * status.f_frsize,
        status.f_favail if status.f_files else None,
    )


def require_temporary_directory(fallback: Path) -> None:
    """Use `fallback` for temporary files, also those of SQLite, if the system has no directory for them.

    A container with a read-only root has none.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = os.environ["TMPDIR"] = os.environ["SQLITE_TMPDIR"] = str(fallback)


def _read_mounts() -> str:
    try:
        return _MOUNTS.read_text(errors="replace")
    except OSError:
        return ""


def find_type(mounts: str, path: Path) -> str:
    """Return the type of the file system of an absolute path, or "unknown" if it is not in `mounts`.

    `mounts` is the text of /proc/self/mountinfo. If two mounts have the same directory, the later one hides the other.
    """
    longest, kind = -1, "unknown"
    for line in mounts.splitlines():
        fields = line.split(" ")
        if " - " not in line or len(fields) < 7:
            continue
        mount = Path(fields[4].encode().decode("unicode_escape", errors="replace"))
        if path.is_relative_to(mount) and len(mount.parts) >= longest:
            longest, kind = len(mount.parts), fields[fields.index("-") + 1]
    return kind
