"""Writing so that a power cut takes nothing back: temporary file, fsync, its name, fsync of the directory.

Names of a conversation's files are relative to an open directory, so that a directory which somebody moves away is not
made again. fsync of the file alone is not enough: without that of the directory, a power cut takes the last names back.
Here are also whole directories, moved and removed durably, and files that appear whole or not at all elsewhere.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from app.errors import DiskFull, OutputRefused, WriteFailed
from app.files import layout

FILE_MODE = 0o600
"""The mode of new files, as agent-server gives it to its own."""

_SECTOR = 512
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def replace(dir_fd: int, name: str, data: bytes, *, sync_name: bool = True) -> os.stat_result:
    """Write a file, replacing an existing one and keeping its mode, and return its status.

    A reader sees the old file or the new one. Without `sync_name` a power cut may bring the old one back, whole.

    Raises:
        DiskFull, WriteFailed: writing failed; the old file is unchanged.
    """
    with explain_errors(name):
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
def explain_errors(what: str) -> Iterator[None]:
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


def rename(source: Path, target: Path) -> None:
    """Rename a directory; one that is read-only needs the permission, since its `..` changes."""
    try:
        source.rename(target)
    except PermissionError:
        mode = stat.S_IMODE(os.lstat(source).st_mode)
        source.chmod(mode | stat.S_IWUSR)
        source.rename(target)
        target.chmod(mode)


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is in it; that there is none is no error.

    Raises:
        WriteFailed: something in it could not be removed.
    """
    try:
        _allow_removal(path)
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise WriteFailed(
            f"{error.filename or path} could not be removed ({error.strerror}); what is left is in {path}, "
            "and goes when the trash is emptied"
        ) from error


def _allow_removal(path: Path) -> None:
    """Allow this user to delete in `path` and in all directories below it; links are not followed."""
    path.chmod(0o700)
    for directory, names, _, fd in os.fwalk(path, follow_symlinks=False):
        for name in names:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o700 != 0o700:
                os.chmod(Path(directory) / name, stat.S_IMODE(status.st_mode) | 0o700)  # noqa: PTH101


@contextmanager
def sync_directories(*directories: Path) -> Iterator[None]:
    """Open directories before something is renamed between them, and make that durable, in this order."""
    with ExitStack() as opened:
        descriptors = [opened.enter_context(layout.open_directory(directory)) for directory in directories]
        yield
        for fd in descriptors:
            sync_directory(fd)


@contextmanager
def new_file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Open a file to write to. When the block ends, it becomes `path`, durably and with mode 0600.

    When the block raises, nothing is left behind.

    Raises:
        OutputRefused: `path` exists and may not be replaced, or is a device, a pipe or a directory, or it cannot be
            written.
    """
    if not replace and os.path.lexists(path):
        raise _exists(path)
    if path.exists() and not path.is_file():
        raise OutputRefused(f"{path} is no regular file and is not replaced; name another, or - for standard output")
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(temporary, path)  # noqa: PTH105 - the name is a text
            else:
                os.link(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        with layout.open_directory(path.parent.resolve()) as fd:
            sync_directory(fd)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise OutputRefused(
            f"{path} cannot be written ({error.strerror}); check that its directory is there, writable and not full"
        ) from error


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, unless it is there.

    Raises:
        OutputRefused: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputRefused(f"the directory {path} cannot be made ({error.strerror}); name another") from error


def _exists(path: Path) -> OutputRefused:
    return OutputRefused(f"{path} exists; name another file, or use --force to replace it")
