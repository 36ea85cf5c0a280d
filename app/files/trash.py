"""The trash: `.trash/` in the conversations directory. Deleting is one rename into it, and can be undone.

An entry is called `<directory>.<microseconds UTC>.<random>`, so that one id can be in it many times. A conversation is
deleted without being opened: it is owned, given back and moved, under both of its locks. What is removed for good is
renamed first, to `.removing-<random>`: half of it can never be restored, and what a crash leaves goes when the trash is
emptied next.
"""

from __future__ import annotations

import errno
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from app.errors import (
    ConversationExists,
    ConversationNotFound,
    DirectoryTaken,
    NotInTrash,
    StoreError,
    StoreUnavailable,
    WriteFailed,
)
from app.files import durable, layout, lease
from app.files.durable import remove_tree, rename, sync_directories
from app.files.layout import LOG_LOCK, LOG_LOCK_TIMEOUT_S, Kind
from app.locks import hold_lock
from app.model.ids import ConversationId, find_conversation_id

TRASH = ".trash"

_match_entry = re.compile(r"([0-9a-fA-F-]{32,36})\.([0-9]{1,18})\.[0-9a-f]{8}").fullmatch
_match_removing = re.compile(r"\.removing-[0-9a-f]{16}").fullmatch
_match_ghost = re.compile(r"\.ghost-[0-9a-f]{16}").fullmatch
_COPY = ".copy-"
_COPIED_US = 24 * 3600 * 1_000_000
"""After so long an unfinished copy is one that a crash left."""

_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})


class TrashEntry(NamedTuple):
    """A deleted conversation: its entry's name, its id, the directory it had, and when it was deleted."""

    name: str
    id: ConversationId
    directory: str
    deleted_at_us: int


def find_entry(name: str) -> TrashEntry | None:
    """Return the parts of an entry's name, or None when the name is not one of the trash's."""
    match = _match_entry(name)
    conversation_id = find_conversation_id(match[1]) if match else None
    return TrashEntry(name, conversation_id, match[1], int(match[2])) if match and conversation_id else None


def move_to_trash(root: Path, directory: str, now_us: int) -> TrashEntry:
    """Move a conversation into the trash by one rename, durably. Opens nothing in it.

    Raises:
        ConversationNotFound: there is no such directory.
        DiskFull, WriteFailed: it could not be moved; nothing changed.
    """
    entry = _new_entry(directory, now_us)
    with durable.explain_errors(f"conversation {directory} in the trash"):
        _make_trash(root)
        with sync_directories(root / TRASH, root):
            try:
                rename(root / directory, root / TRASH / entry.name)
            except FileNotFoundError as error:
                raise ConversationNotFound(f"there is no conversation {directory}") from error
    return entry


def _make_trash(root: Path) -> None:
    """Make the trash, if there is none.

    Raises:
        WriteFailed: something else is there; a link is not followed.
    """
    with suppress(FileExistsError):
        (root / TRASH).mkdir(mode=0o700)
    if not layout.is_directory(root, TRASH):
        raise WriteFailed(_no_directory(root))


def _no_directory(root: Path) -> str:
    return f"{root / TRASH} is a link, or no directory, and nothing was moved; move it away, and a new trash is made"


def _new_entry(directory: str, now_us: int) -> TrashEntry:
    entry = find_entry(f"{directory}.{now_us}.{secrets.token_hex(4)}")
    if entry is None:
        raise ConversationNotFound(f"{directory!r} is no conversation's directory")
    return entry


def copy_to_trash(root: Path, directory: str, now_us: int) -> TrashEntry:
    """Put a copy of a conversation into the trash, as if it had been deleted, durably. The caller holds its locks.

    Raises:
        DiskFull, WriteFailed: it could not be copied; nothing is left of the copy.
    """
    entry = _new_entry(directory, now_us)
    building = root / TRASH / f"{_COPY}{entry.name}"
    with durable.explain_errors(f"a copy of conversation {directory} in the trash"):
        _make_trash(root)
        try:
            shutil.copytree(root / directory, building, symlinks=True)
            durable.sync_tree(building)
            with sync_directories(root / TRASH, root):
                building.rename(root / TRASH / entry.name)
        except BaseException as error:
            shutil.rmtree(building, ignore_errors=True)
            if isinstance(error, shutil.Error):
                raise WriteFailed(f"a file of conversation {directory} could not be copied: {error}") from error
            raise
    return entry


def list_trash(root: Path) -> list[TrashEntry]:
    """Return the trash's entries, the last deleted first.

    Raises:
        StoreUnavailable: the disk cannot be read.
    """
    entries = filter(None, map(find_entry, _list_names(root)))
    return sorted(entries, key=lambda one: (one.deleted_at_us, one.name), reverse=True)


def _list_names(root: Path) -> list[str]:
    try:
        with layout.open_directory(root / TRASH) as fd:
            return layout.list_all(fd)
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise StoreUnavailable(_no_directory(root)) from error
    except OSError as error:
        raise StoreUnavailable(f"the trash {root / TRASH} cannot be read ({error.strerror})") from error


def list_leftovers(root: Path) -> list[str]:
    """Return the names of what crashes left in the trash: half-removed conversations, and unfinished copies.

    Raises:
        StoreUnavailable: the disk cannot be read.
    """
    before_us = time.time_ns() // 1000 - _COPIED_US
    return [name for name in sorted(_list_names(root)) if _is_left(root, name) or _is_old_copy(name, before_us)]


def _is_left(root: Path, name: str) -> bool:
    """Whether a crash left it. A former ghost into which somebody wrote meanwhile is kept."""
    ghost = _match_ghost(name) is not None and layout.find_kind(root / TRASH, name) is Kind.GHOST
    return ghost or _match_removing(name) is not None


def _is_old_copy(name: str, before_us: int) -> bool:
    copied = find_entry(name.removeprefix(_COPY)) if name.startswith(_COPY) else None
    return copied is not None and copied.deleted_at_us < before_us


def find_in_trash(root: Path, conversation_id: ConversationId) -> TrashEntry | None:
    """Return the last deleted conversation of this id, or None."""
    return next((one for one in list_trash(root) if one.id == conversation_id), None)


def restore(root: Path, entry: TrashEntry) -> str:
    """Put a deleted conversation back where it was and return its directory.

    A ghost in its place (`layout.Kind`) is cleared.

    Raises:
        ConversationExists: there is a conversation of this id again.
        DirectoryTaken: something that is no conversation is in its place.
        NotInTrash: it is not there (any more).
        DiskFull, WriteFailed: it could not be moved; nothing changed.
    """
    found = require_room(root, entry)
    if found is not None:
        clear_ghost(root, found)
    with durable.explain_errors(f"conversation {entry.directory}"):
        _make_trash(root)
        with sync_directories(root, root / TRASH):
            try:
                rename(root / TRASH / entry.name, root / entry.directory)
            except FileNotFoundError as error:
                raise NotInTrash(
                    f"the trash holds no {entry.name}; see `GET /api/trash` or `convstore trash list`"
                ) from error
            except OSError as error:
                if error.errno in _TAKEN:
                    raise _refusal(root, entry.directory, entry) from error
                raise
    return entry.directory


def require_room(root: Path, entry: TrashEntry) -> str | None:
    """Make sure that there is no conversation of this id again; return the directory of a ghost of it, if there is one.

    Raises:
        ConversationExists: there is one.
        DirectoryTaken: something that is no conversation is in its place.
    """
    found, kind = layout.find_occupant(root, entry.id)
    if kind in (Kind.CONVERSATION, Kind.OTHER):
        raise _refusal(root, found, entry)
    return found if kind is Kind.GHOST else None


def _refusal(root: Path, directory: str, entry: TrashEntry) -> ConversationExists | DirectoryTaken:
    if layout.find_kind(root, directory) is Kind.OTHER:
        return layout.directory_taken(root, directory)
    return ConversationExists(
        f"there is a conversation {directory} again; delete that one first, or leave {entry.name} in the trash"
    )


def empty_trash(root: Path, before_us: int) -> Iterator[TrashEntry]:
    """Remove for good what was deleted before a time, the oldest first, and give each. Goes on after a failure.

    Raises:
        StoreUnavailable: the disk does not say what is in it.
        WriteFailed: at the end, when something could not be removed.
    """
    failed: list[StoreError] = []
    for name in list_leftovers(root):
        with _collect_errors(failed):
            remove_tree(root / TRASH / name)
    for entry in list_older(root, before_us):
        with _collect_errors(failed):
            if remove(root, entry):
                yield entry
    if failed:
        raise failed[0]


@contextmanager
def _collect_errors(failed: list[StoreError]) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        failed.append(error)


def list_older(root: Path, before_us: int) -> list[TrashEntry]:
    """Return the entries deleted before a time, the oldest first."""
    return [one for one in reversed(list_trash(root)) if one.deleted_at_us < before_us]


def remove(root: Path, entry: TrashEntry) -> bool:
    """Remove a deleted conversation for good, and say whether it was still there.

    Raises:
        WriteFailed: a file could not be removed; what is left cannot be restored, and goes when the trash is emptied.
    """
    aside = _name_aside(root, "removing")
    with durable.explain_errors(f"{entry.name} in the trash"):
        _make_trash(root)
        with sync_directories(root / TRASH):
            try:
                rename(root / TRASH / entry.name, aside)
            except FileNotFoundError:
                return False
    remove_tree(aside)
    return True


def clear_ghost(root: Path, directory: str) -> bool:
    """Remove a directory that is a ghost (`layout.Kind`), and say whether it was one."""
    if layout.find_kind(root, directory) is not Kind.GHOST:
        return False
    aside = _name_aside(root, "ghost")
    with durable.explain_errors(f"what locks left in {directory}"):
        _make_trash(root)
        rename(root / directory, aside)
        if layout.find_kind(aside.parent, aside.name) not in (Kind.GHOST, None):  # somebody wrote into it just now
            rename(aside, root / directory)
            return False
    remove_tree(aside)
    return True


def _name_aside(root: Path, what: str) -> Path:
    return root / TRASH / f".{what}-{secrets.token_hex(8)}"


def delete_conversation(root: Path, directory: str, instance: str, now_us: int, *, force: bool = False) -> TrashEntry:
    """Move a conversation into the trash, durably. Nobody's write is cut in two, and a stale owner's is refused.

    Raises:
        ConversationOwned: another owner lives; `force` deletes all the same.
        ConversationNotFound: there is none.
        LockTimeout: another program is writing to it all the time.
        DiskFull, WriteFailed: it could not be moved; nothing changed.
    """
    claimed = lease.claim(root, directory, instance, force=force)
    with lease.open_to_write(root, directory) as fd, ExitStack() as locks:
        try:
            events_fd = locks.enter_context(layout.open_directory(layout.EVENTS, fd))
        except OSError:
            pass  # no events/, and so no log that somebody appends to
        else:
            locks.enter_context(hold_lock(LOG_LOCK, LOG_LOCK_TIMEOUT_S, dir_fd=events_fd))
        locks.enter_context(lease.hold_lease(root, directory, fd, claimed.lease))
        lease.undo_claim_locked(root, fd, claimed)
        return move_to_trash(root, directory, now_us)
