"""The file system of a path: its type, and its free space; and a directory for temporary files.

SQLite's write-ahead log needs shared memory and byte-range locks, which network file systems do not fully support.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
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
    options: Mapping[str, str] = {}
    """How it is mounted: `hard`, or `vers` with a value."""


def find_file_system(path: Path) -> FileSystem:
    """Return the file system of `path`, or of its nearest existing parent."""
    there = path
    while not os.path.exists(there) and there != there.parent:  # noqa: PTH110 - hidden counts as absent
        there = there.parent
    status = os.statvfs(there)
    mount = find_mount(_read_mounts(), Path(os.path.realpath(there)))
    return FileSystem(
        mount.type,
        mount.network,
        status.f_bavail * status.f_frsize,
        status.f_blocks * status.f_frsize,
        status.f_favail if status.f_files else None,
        mount.options,
    )


@lru_cache(maxsize=64)
def is_network_device(device: int) -> bool:
    """Whether a file whose status has this `st_dev` is on a network file system."""
    number = f"{os.major(device)}:{os.minor(device)}"
    return any(mount.network for mount in _list_mounts(_read_mounts()) if mount.device == number)


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


class Mount(NamedTuple):
    """A mount. `device` is its number as the kernel writes it, such as 8:1."""

    device: str
    directory: Path
    type: str
    options: Mapping[str, str]

    @property
    def network(self) -> bool:
        """Whether its files are on another machine."""
        return self.type in _NETWORK or self.type.removeprefix("fuse.") in _NETWORK_FUSE


_UNKNOWN = Mount("", Path("/"), "unknown", {})


def find_mount(mounts: str, path: Path) -> Mount:
    """Return the mount of an absolute path, one of the type "unknown" if it is not in `mounts`.

    `mounts` is the text of /proc/self/mountinfo. If two mounts have the same directory, the later one hides the other.
    """
    found, longest = _UNKNOWN, -1
    for mount in _list_mounts(mounts):
        if path.is_relative_to(mount.directory) and len(mount.directory.parts) >= longest:
            longest, found = len(mount.directory.parts), mount
    return found


def _list_mounts(mounts: str) -> Iterator[Mount]:
    for line in mounts.splitlines():
        fields = line.split(" ")
        if " - " not in line or len(fields) < 7:
            continue
        directory = Path(fields[4].encode().decode("unicode_escape", errors="replace"))
        kind, *rest = fields[fields.index("-") + 1 :]
        options = dict(one.partition("=")[::2] for one in rest[-1].split(",")) if len(rest) > 1 else {}
        yield Mount(fields[2], directory, kind, options)
