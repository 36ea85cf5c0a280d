"""A file that appears whole or not at all: what an export or a backup writes outside the conversations."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from app.errors import OutputRefused
from app.files import durable, layout


@contextmanager
def new_file(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Give a file to write to, which becomes `path`, durable and with mode 0600, when the block ends.

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
        with layout.open_directory(path.parent) as fd:
            durable.sync_directory(fd)
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
