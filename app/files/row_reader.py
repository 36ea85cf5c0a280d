"""Reading many conversations. These are plain functions over files, so that they can run in worker processes.

Imports no SQL, which keeps the worker processes small.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ..model.conversation import IndexedRow, fold
from ..model.event import KnownLog, LogChange, gap_rows
from ..model.ids import EventName
from . import fingerprint, layout, metadata_reader
from .fingerprint import FAILED
from .layout import ConversationDir
from .log import event_log
from .metadata_reader import Reader

_NO_ROW = "no row"


def read_signatures(reader: Reader, named: Iterable[ConversationDir]) -> dict[str, bytes]:
    """Return the signature of each directory. Opens no file."""
    return {one.directory: fingerprint.signature(reader.root, one.directory) for one in named}


def find_present(root: Path, directories: Iterable[str]) -> set[str]:
    """Return those of these directories that exist.

    Raises:
        StoreUnavailable: the disk cannot be read.
    """
    return {directory for directory in directories if layout.is_directory(root, directory)}


def read_rows(
    reader: Reader, named: Iterable[ConversationDir], known: Mapping[str, bytes] = MappingProxyType({})
) -> tuple[list[IndexedRow], list[ConversationDir]]:
    """Read and fold conversations. Also return the directories that are not conversations.

    `known` has signatures that were already computed; missing ones are computed before the conversation is read.
    """
    rows, gone = [], []
    for one in named:
        signature = known.get(one.directory) or fingerprint.signature(reader.root, one.directory)
        files = metadata_reader.read_conversation(reader, one.directory, one.id)
        if files is None:
            gone.append(one)
        else:
            rows.append(IndexedRow(fold(files), FAILED if files.failed else signature))
    return rows, gone


def read_changes(reader: Reader, logs: Sequence[KnownLog]) -> list[LogChange]:
    """Read the events that have no current row: new files, files that were unreadable, and always the last file.

    If the operating system refuses to list a log, its rows are not changed.
    """
    changes = []
    for log in logs:
        names = event_log.find_events(reader, log.directory)
        if names is None:
            changes.append(LogChange(log.key, [], [], log.directory, failed=True))
            continue
        unread = [name for name in names if log.known.get(name, _NO_ROW) is not None]
        if names and (not unread or unread[-1] != names[-1]):
            unread.append(names[-1])
        gaps = gap_rows(names)
        present = {*names, *(gap.name for gap in gaps)}
        write, failed = event_log.read_rows(reader, log.directory, unread)
        write += [gap for gap in gaps if log.known.get(gap.name) != gap.unreadable]
        gone = [EventName._make(name) for name in log.known if name not in present]
        changes.append(LogChange(log.key, write, gone, log.directory, failed=failed))
    return changes
