"""Giving a finished file its final name, which must be free. A reader sees the whole file or none.

A hard link fails if the name is taken, where a plain rename would replace the other file. Some file systems have no
hard links: mounts of some containers, FUSE, FAT and exFAT. There renameat2 with RENAME_NOREPLACE does the same; Python
has no function for it. Where that is missing too, the name is checked before a plain rename. Then only a
lock that all writers take prevents another writer from using the name in between. In each case, the caller makes the
name durable by an fsync of the directory.
"""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path

_ENOTSUPP = 524
"""A number of the kernel that some file systems return instead of EOPNOTSUPP."""
_NO_LINKS = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK, _ENOTSUPP}
    | {errno.EACCES, errno.EXDEV}  # AppArmor's answer, and that of mergerfs
)
_NO_EXCLUSIVE_RENAME = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, _ENOTSUPP})
_NO_EXCLUSIVE_RENAME |= {errno.EPERM}  # seccomp's answer for a call that its filter does not know
_AT_FDCWD = -100
_NOREPLACE = 1


class Way(Enum):
    """How a file got its final name."""

    LINK = "a hard link"
    EXCLUSIVE_RENAME = "renameat2 with RENAME_NOREPLACE"
    RENAME = "a check of the name and a plain rename"


def accept() -> None:
    """Do nothing: the default for `before_rename`."""


def rename_exclusively(
    source: str | Path, target: str | Path, *, dir_fd: int | None = None, before_rename: Callable[[], None] = accept
) -> Way:
    """Rename a file to a name that must be free, and return the way that was used.

    `before_rename` is called where there are no hard links, before the file is renamed.

    Raises:
        FileExistsError: the name is taken; nothing was changed.
        OSError: the system refused; nothing was changed.
    """
    try:
        os.link(source, target, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
    except FileExistsError:
        # An NFS client that lost the answer asks again, and is told that the name is taken: by this file.
        if not _is_same(source, target, dir_fd):
            raise
        return _remove_first_name(source, target, dir_fd)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        return _remove_first_name(source, target, dir_fd)
    before_rename()
    try:
        _rename_noreplace(source, target, dir_fd)
    except OSError as error:
        if error.errno not in _NO_EXCLUSIVE_RENAME:
            raise
    else:
        return Way.EXCLUSIVE_RENAME
    if _exists(target, dir_fd):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(source, target, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    return Way.RENAME


def _remove_first_name(source: str | Path, target: str | Path, dir_fd: int | None) -> Way:
    try:
        os.unlink(source, dir_fd=dir_fd)
    except OSError:
        with suppress(OSError):
            os.unlink(target, dir_fd=dir_fd)
        raise
    return Way.LINK


def _is_same(source: str | Path, target: str | Path, dir_fd: int | None) -> bool:
    one, other = (os.stat(name, dir_fd=dir_fd, follow_symlinks=False) for name in (source, target))
    return os.path.samestat(one, other)


def _rename_noreplace(source: str | Path, target: str | Path, dir_fd: int | None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        renameat2 = libc.renameat2
    except AttributeError as error:  # musl before 1.2.6, glibc before 2.28
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
    fd = _AT_FDCWD if dir_fd is None else dir_fd
    if renameat2(fd, os.fsencode(source), fd, os.fsencode(target), _NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(source), None, str(target))


def _exists(name: str | Path, dir_fd: int | None) -> bool:
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def find_way(directory: Path) -> Way:
    """Rename a test file in a directory, and return the way that was used. No file is left.

    Raises:
        OSError: no file can be made in the directory.
    """
    with tempfile.TemporaryDirectory(dir=directory, prefix=".probe-") as probe:
        source = Path(probe, "source")
        source.touch()
        return rename_exclusively(source, Path(probe, "target"))
