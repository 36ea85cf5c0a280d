"""Writing so that a power cut takes nothing back: temporary file, fsync, its name, fsync of the directory.

All names are relative to an open directory, so that a directory which somebody moves away is not made again. fsync of
the file alone is not enough: without that of the directory, a power cut takes the last names back.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import DiskFull, WriteFailed

FILE_MODE = 0o600
"""The mode of new files, as agent-server gives it to its own."""

_SECTOR = 512
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def replace(dir_fd: int, name: str, data: bytes, *, sync_name: bool = True) -> os.stat_result:
    """Write a file in the place of one that may exist, whose mode it keeps, and return its status.

    A reader sees the old file or the new one. Without `sync_name` a power cut may bring the old one back, whole.

    Raises:
        DiskFull, WriteFailed: it could not be written; the old file stands.
    """
    with explained(name):
        mode = FILE_MODE
        with suppress(FileNotFoundError):
            mode = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode & 0o777
        temporary, _ = write_temporary(dir_fd, name, data, mode)
        try:
            os.replace(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except BaseException:
            remove_if_there(dir_fd, temporary)
            raise
        if sync_name:
            sync_directory(dir_fd)
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)


def overwrite(
    dir_fd: int, name: str, at: int, data: bytes, is_known: Callable[[os.stat_result], bool]
) -> os.stat_result | None:
    """Write over some bytes of a file, durably, and return its status; None: nothing was done, it must be replaced.

    It is done where a power cut cannot tear it, in one sector, which a disk writes whole or not at all; where the file
    `is_known`, by its status, to hold what is meant to be written over; and where nobody else has it: under another
    name, as in a backup made of hard links, it must stay as it is.

    Raises:
        OSError: it failed; the bytes on the disk may be the old ones or the new.
    """
    if at // _SECTOR != (at + len(data) - 1) // _SECTOR:
        return None
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=dir_fd)
    except PermissionError:
        return None
    try:
        status = os.fstat(descriptor)
        if status.st_nlink != 1 or not is_known(status):
            return None
        if os.pwrite(descriptor, data, at) != len(data):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        _finish(descriptor)
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def write_temporary(dir_fd: int, name: str, data: bytes, mode: int = FILE_MODE) -> tuple[str, os.stat_result]:
    """Write a file of another name beside `name`, fsync it, and return its name and status. Nothing is left on error.

    The name is one that agent-server takes for no event: `.<name>.<random>.tmp`.

    Raises:
        OSError: it could not be written.
    """
    temporary = f".{name}.{secrets.token_hex(8)}.tmp"
    descriptor = os.open(temporary, _CREATE, mode, dir_fd=dir_fd)
    try:
        os.fchmod(descriptor, mode)  # what the umask took away
        write_all(descriptor, data)
        _finish(descriptor)
        return temporary, os.fstat(descriptor)
    except BaseException:
        remove_if_there(dir_fd, temporary)
        raise
    finally:
        os.close(descriptor)


def _finish(descriptor: int) -> None:
    """Stamp a file with the exact time, for the kernel's stamps are 4 ms coarse and order tells HEAD; and fsync it."""
    now_ns = time.time_ns()
    os.utime(descriptor, ns=(now_ns, now_ns))
    os.fsync(descriptor)


def remove_temporaries(dir_fd: int, names: Iterable[str]) -> None:
    """Delete what a crash of `write_temporary` left beside files of these names."""
    is_temporary = re.compile(rf"\.({'|'.join(map(re.escape, names))})\.[0-9a-f]{{16}}\.tmp").fullmatch
    for name in filter(is_temporary, os.listdir(dir_fd)):
        remove_if_there(dir_fd, name)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, however little the system takes at once."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def sync_directory(dir_fd: int) -> None:
    """Make the names in an open directory durable."""
    os.fsync(dir_fd)


def sync_tree(path: Path) -> None:
    """Make all files and names under a directory durable."""
    for directory, _, names in os.walk(path):
        for name in ("", *names):
            inner = os.path.join(directory, name)  # noqa: PTH118
            if not os.path.islink(inner):  # noqa: PTH114
                descriptor = os.open(inner, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)


def remove_if_there(dir_fd: int, name: str) -> None:
    """Delete a file; that there is none is no error."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=dir_fd)


def sync_file_system(fd: int) -> None:
    """Make durable all that was written to the file system that a descriptor is on, also by others.

    Raises:
        OSError: the disk refused something.
    """
    if ctypes.CDLL(None, use_errno=True).syncfs(fd):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what the operating system says about writing `what` into an error for users; a taken name stays as it is.

    Raises:
        DiskFull: there is no space left, or no quota.
        WriteFailed: anything else.
    """
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                f"{what} could not be written: {error.strerror}; nothing changed. Free some space and try again"
            ) from error
        raise WriteFailed(
            f"{what} could not be written ({error.strerror or error}); it is not acknowledged. "
            "Check the disk and the permissions of the conversations directory"
        ) from error
