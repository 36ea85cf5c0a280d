"""Moving and removing directories, also those that are read-only, and making that durable."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.errors import WriteFailed
from app.files import durable, layout


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
    """Give this user the permission to delete in the directories from `path` down; links are not followed."""
    path.chmod(0o700)
    for directory, names, _, fd in os.fwalk(path, follow_symlinks=False):
        for name in names:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o700 != 0o700:
                os.chmod(Path(directory) / name, stat.S_IMODE(status.st_mode) | 0o700)  # noqa: PTH101


@contextmanager
def synced(*directories: Path) -> Iterator[None]:
    """Open directories before something is renamed between them, and make that durable, in this order."""
    with ExitStack() as opened:
        descriptors = [opened.enter_context(layout.open_directory(directory)) for directory in directories]
        yield
        for fd in descriptors:
            durable.sync_directory(fd)
