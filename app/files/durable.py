"""Durable writes, which survive a power cut: temporary file, fsync, rename, fsync of the directory.

Without the fsync of the directory, a power cut may undo the rename. Files of a conversation are named relative to an
open directory, so that a write never recreates a directory that somebody moved away. This module also moves and removes
directories durably, and creates output files atomically.
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
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from ..errors import DiskFull, OutputRefused, WriteFailed
from ..exclusive_rename import rename_exclusively
from ..filesystem import is_network_device
from ..locks import NoLocks, no_locks
from . import layout, liveness

FILE_MODE = 0o600
"""The mode of new files; agent-server uses the same."""

_SECTOR = 512
_STEP_NS = 1000
_AHEAD_NS = 60_000_000_000
"""How far the clock of another host may be ahead."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def replace(dir_fd: int, name: str, data: bytes, *, sync_name: bool = True) -> os.stat_result:
    """Create or replace a file, keep an existing file's mode, and return the file's status.

    Readers see either the old file or the new one. Without `sync_name`, a power cut may bring back the complete old
    file.

    Raises:
        DiskFull, WriteFailed: writing failed; the old file is unchanged.
    """
    with explain_errors(name):
        mode, after_ns = FILE_MODE, 0
        with suppress(FileNotFoundError):
            old = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            mode, after_ns = old.st_mode & 0o777, old.st_mtime_ns
        temporary, _ = write_temporary(dir_fd, name, data, mode, after_ns=after_ns)
        try:
            liveness.require_alive()
            os.replace(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except BaseException:
            remove_if_there(dir_fd, temporary)
            raise
        if sync_name:
            sync_directory(dir_fd)
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)


def is_in_one_sector(at: int, length: int) -> bool:
    """Whether bytes are in one sector. A disk writes a sector atomically, so a power cut cannot tear them."""
    return at // _SECTOR == (at + length - 1) // _SECTOR


def overwrite(
    dir_fd: int, name: str, at: int, data: bytes, is_known: Callable[[os.stat_result], bool]
) -> os.stat_result | None:
    """Overwrite bytes of a file in place, and return the file's status. Return None if this is not safe.

    It is safe if a power cut cannot tear the bytes, if `is_known` accepts the file's status, so that nobody else
    changed it, if the file has no other hard link, as in a backup, and if it is not on a network file system, where
    another machine could read a part of the bytes. Until `sync_file`, a power cut may bring back the old bytes.

    Raises:
        OSError: writing failed; the disk has either the old bytes or the new ones.
    """
    if not is_in_one_sector(at, len(data)):
        return None
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=dir_fd)
    except PermissionError:
        return None
    try:
        status = os.fstat(descriptor)
        if status.st_nlink != 1 or not is_known(status) or is_network_device(status.st_dev):
            return None
        liveness.require_alive()
        if os.pwrite(descriptor, data, at) != len(data):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        _set_time(descriptor, status.st_mtime_ns)
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def sync_file(dir_fd: int, name: str) -> None:
    """Make the bytes of a file durable.

    Raises:
        OSError: the disk reported an error, or the file cannot be opened.
    """
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=dir_fd)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_temporary(
    dir_fd: int, name: str, data: bytes, mode: int = FILE_MODE, *, after_ns: int = 0
) -> tuple[str, os.stat_result]:
    """Write and fsync a temporary file for `name`, and return its name and status. After an error, no file is left.

    Its time is later than `after_ns`, even if this machine's clock is behind that of the machine that wrote before.
    agent-server ignores the name, `.<name>.<random>.tmp`.

    Raises:
        OSError: writing failed.
    """
    temporary = f".{name}.{secrets.token_hex(8)}.tmp"
    descriptor = os.open(temporary, _CREATE, mode, dir_fd=dir_fd)
    try:
        with suppress(PermissionError):  # FAT and exFAT have no modes
            os.fchmod(descriptor, mode)  # restore the permissions that the umask removed
        write_all(descriptor, data)
        _set_time(descriptor, after_ns)
        os.fsync(descriptor)
        return temporary, os.fstat(descriptor)
    except BaseException:
        remove_if_there(dir_fd, temporary)
        raise
    finally:
        os.close(descriptor)


def _set_time(descriptor: int, after_ns: int) -> None:
    """Set the exact time, which is later than `after_ns`, unless this is the time of a clock that is wrong.

    The kernel's times are 4 ms coarse, and finding HEAD depends on the order of times.
    """
    now_ns = time.time_ns()
    if after_ns < now_ns + _AHEAD_NS:
        now_ns = max(now_ns, after_ns + _STEP_NS)
    os.utime(descriptor, ns=(now_ns, now_ns))


def remove_temporaries(dir_fd: int, names: Iterable[str]) -> None:
    """Delete the files that a crash of `write_temporary` left for these names."""
    is_temporary = re.compile(rf"\.({'|'.join(map(re.escape, names))})\.[0-9a-f]{{16}}\.tmp").fullmatch
    for name in filter(is_temporary, os.listdir(dir_fd)):
        remove_if_there(dir_fd, name)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, even if the system writes only a part at a time."""
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
    """Delete a file if it exists."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=dir_fd)


def sync_file_system(fd: int) -> None:
    """Make everything on a descriptor's file system durable, including other programs' writes.

    Raises:
        OSError: the disk reported an error.
    """
    if ctypes.CDLL(None, use_errno=True).syncfs(fd):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


_ADVICE = {
    errno.EISDIR: "A directory has the name of the file; move it away",
    errno.EROFS: "The file system is mounted read-only; mount it writable, or use commands that only read",
}


def is_full(error: OSError) -> bool:
    """Whether a write failed because no space or quota is left."""
    return error.errno in _FULL


def describe_full(error: OSError) -> str:
    """Return which limit was reached, and how to get room."""
    frees = "`convstore trash empty` (`DELETE /api/trash`) and deleting conversations permanently free room"
    if error.errno == errno.EDQUOT:
        return f"the quota of this user, group or directory is used up ({error.strerror}); {frees}, or raise the quota"
    return f"the disk has no room ({error.strerror}); {frees}"


def explain_errors(what: str) -> AbstractContextManager[None, None]:
    """Convert an OSError of the block into an error for users; `what` names the written thing. FileExistsError passes.

    Raises:
        DiskFull: no space or quota is left.
        WriteFailed: any other error.
    """
    return _Explained(what)


class _Explained(AbstractContextManager[None, None]):
    """A class, because each append enters it several times."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not isinstance(error, OSError) or isinstance(error, FileExistsError):
            return
        if isinstance(error, NoLocks):
            raise no_locks(self._what) from error
        if error.errno in _FULL:
            raise DiskFull(f"{self._what} could not be written: {describe_full(error)}; nothing changed") from error
        advice = _ADVICE.get(error.errno or 0, "Check the disk and the permissions of the conversations directory")
        raise WriteFailed(
            f"{self._what} could not be written ({error.strerror or error}); it is not acknowledged. {advice}"
        ) from error


def rename(source: Path, target: Path) -> None:
    """Rename a directory. A read-only directory is made writable first, because a move changes its `..` entry."""
    try:
        source.rename(target)
    except PermissionError:
        mode = stat.S_IMODE(os.lstat(source).st_mode)
        source.chmod(mode | stat.S_IWUSR)
        source.rename(target)
        target.chmod(mode)


def remove_tree(path: Path) -> None:
    """Remove a directory and its contents, if it exists.

    Raises:
        WriteFailed: something in the directory could not be removed.
    """
    try:
        _allow_removal(path)
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise WriteFailed(
            f"{error.filename or path} could not be removed ({error.strerror}); the rest is in {path}, "
            "and will be removed when the trash is emptied"
        ) from error


def _allow_removal(path: Path) -> None:
    """Make `path` and all directories below it writable for this user. Links are not followed."""
    path.chmod(0o700)
    for directory, names, _, fd in os.fwalk(path, follow_symlinks=False):
        for name in names:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o700 != 0o700:
                os.chmod(Path(directory) / name, stat.S_IMODE(status.st_mode) | 0o700)  # noqa: PTH101


@contextmanager
def sync_directories(*directories: Path) -> Iterator[None]:
    """Open directories, run the block, which renames something between them, and then fsync them in this order."""
    with ExitStack() as opened:
        descriptors = [opened.enter_context(layout.open_directory(directory)) for directory in directories]
        yield
        for fd in descriptors:
            sync_directory(fd)


@contextmanager
def new_file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Open a new file for writing. At the end of the block it becomes `path`, durably and with mode 0600.

    If the block raises, no file is left.

    Raises:
        OutputRefused: `path` exists and `replace` is false, it is not a regular file, or it cannot be written.
    """
    if not replace and os.path.lexists(path):
        raise _exists(path)
    if path.exists() and not path.is_file():
        raise OutputRefused(
            f"{path} is not a regular file and is not replaced; name another file, or - for standard output"
        )
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
                rename_exclusively(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        with layout.open_directory(path.parent.resolve()) as fd:
            sync_directory(fd)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise OutputRefused(
            f"{path} cannot be written ({error.strerror}); check that its directory exists, is writable and not full"
        ) from error


def make_directory(path: Path) -> None:
    """Make a directory and its parents, if they do not exist.

    Raises:
        OutputRefused: the directory cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputRefused(f"the directory {path} cannot be made ({error.strerror}); name another one") from error


def _exists(path: Path) -> OutputRefused:
    return OutputRefused(f"{path} exists; name another file, or use --force to replace it")
