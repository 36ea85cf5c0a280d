"""The trash: `.trash/` in the conversations directory. Deleting is one rename into it and can be undone.

An entry is called `<directory>.<microseconds UTC>.<random>`, so the trash may have several entries for one id. A
conversation is not read to be deleted: its lease is claimed and released, and it is moved under both of its locks.
Before a permanent removal, an entry is renamed to `.removing-<random>`, so that a half-removed entry can never be
restored. If a removal crashes, the rest is removed when the trash is emptied next.
"""

from __future__ import annotations

import errno
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ..errors import (
    ConversationExists,
    ConversationNotFound,
    DirectoryTaken,
    DiskFull,
    NotInTrash,
    StoreError,
    StoreUnavailable,
    WriteFailed,
)
from ..locks import hold_lock, try_lock
from ..model.ids import ConversationId, find_conversation_id
from . import durable, layout, lease
from .durable import remove_tree, rename, sync_directories
from .layout import LOG_LOCK, LOG_LOCK_TIMEOUT_S, Kind
from .lease import ClaimedLease

TRASH = ".trash"

_match_entry = re.compile(r"([0-9a-fA-F-]{32,36})\.([0-9]{1,18})\.[0-9a-f]{8}").fullmatch
_match_removing = re.compile(r"\.removing-[0-9a-f]{16}").fullmatch
_match_ghost = re.compile(r"\.ghost-[0-9a-f]{16}").fullmatch
_COPY = ".copy-"
_COPIED_US = 24 * 3600 * 1_000_000
"""An unfinished copy older than this was left by a crash."""

_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})


class TrashEntry(NamedTuple):
    """A deleted conversation: its entry's name, its id, the directory it had, and when it was deleted."""

    name: str
    id: ConversationId
    directory: str
    deleted_at_us: int


Deleted = Mapping[ConversationId, TrashEntry]
"""The most recently deleted conversation of each id."""


def find_entry(name: str) -> TrashEntry | None:
    """Return the parts of an entry's name, or None if the name is not an entry's."""
    match = _match_entry(name)
    conversation_id = find_conversation_id(match[1]) if match else None
    return TrashEntry(name, conversation_id, match[1], int(match[2])) if match and conversation_id else None


def move_to_trash(root: Path, directory: str, now_us: int) -> TrashEntry:
    """Move a conversation into the trash by one rename, durably. Opens no file in it.

    Raises:
        ConversationNotFound: there is no such directory.
        DiskFull, WriteFailed: the move failed; nothing changed.
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
    """Make the trash if it is missing.

    Raises:
        WriteFailed: the name is used by something else, such as a link.
        NoLocks: the file system has no locks, so nothing is moved.
    """
    with suppress(FileExistsError):
        (root / TRASH).mkdir(mode=0o700)
    if not layout.is_directory(root, TRASH):
        raise WriteFailed(_no_directory(root))
    with layout.open_directory(root / TRASH) as fd:
        try_lock(fd)


def _no_directory(root: Path) -> str:
    return f"{root / TRASH} is not a directory; nothing was moved. Move it away, and convstore makes a new trash"


def _new_entry(directory: str, now_us: int) -> TrashEntry:
    entry = find_entry(f"{directory}.{now_us}.{secrets.token_hex(4)}")
    if entry is None:
        raise ConversationNotFound(f"{directory!r} is not a conversation's directory")
    return entry


def copy_to_trash(root: Path, directory: str, now_us: int) -> TrashEntry:
    """Put a copy of a conversation into the trash, durably, like a deleted one. The caller holds its locks.

    Raises:
        DiskFull, WriteFailed: copying failed; nothing is left of the copy.
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
    """Return the trash's entries, most recently deleted first.

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
    """Return the names that crashes left in the trash: half-removed conversations and unfinished copies.

    Raises:
        StoreUnavailable: the disk cannot be read.
    """
    before_us = time.time_ns() // 1000 - _COPIED_US
    return [name for name in sorted(_list_names(root)) if _is_left(root, name) or _is_old_copy(name, before_us)]


def _is_left(root: Path, name: str) -> bool:
    """Whether a crash left this entry. What another program has written into is kept."""
    ghost = _match_ghost(name) is not None and layout.find_kind(root / TRASH, name) is Kind.GHOST
    return ghost or _match_removing(name) is not None


def _is_old_copy(name: str, before_us: int) -> bool:
    copied = find_entry(name.removeprefix(_COPY)) if name.startswith(_COPY) else None
    return copied is not None and copied.deleted_at_us < before_us


def list_last_deleted(root: Path) -> dict[ConversationId, TrashEntry]:
    """Return the most recently deleted conversation of each id, the newest first.

    Raises:
        StoreUnavailable: the disk cannot be read.
    """
    found: dict[ConversationId, TrashEntry] = {}
    for entry in list_trash(root):
        found.setdefault(entry.id, entry)
    return found


def find_in_trash(root: Path, conversation_id: ConversationId, deleted: Deleted | None = None) -> TrashEntry | None:
    """Return the most recently deleted conversation with this id, or None.

    With `deleted`, as `list_last_deleted` returned it, the trash is listed again only if that entry has gone.
    """
    if deleted is not None:
        entry = deleted.get(conversation_id)
        if entry is None or layout.is_directory(root / TRASH, entry.name):
            return entry
    return list_last_deleted(root).get(conversation_id)


def restore(root: Path, entry: TrashEntry) -> str:
    """Move a deleted conversation back to its former place, and return its directory.

    A ghost in that place (`layout.Kind`) is removed.

    Raises:
        ConversationExists: the id has a conversation again.
        DirectoryTaken: the name is used by something other than a conversation.
        NotInTrash: there is no such entry.
        DiskFull, WriteFailed: the move failed; nothing changed.
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
                    f"the trash has no entry {entry.name}; see `GET /api/trash` or `convstore trash list`"
                ) from error
            except OSError as error:
                if error.errno in _TAKEN:
                    raise _refusal(root, entry.directory, entry) from error
                raise
    return entry.directory


def require_room(root: Path, entry: TrashEntry) -> str | None:
    """Check that the id has no conversation, and return the directory of its ghost, if there is one.

    Raises:
        ConversationExists: the id has a conversation.
        DirectoryTaken: the name is used by something other than a conversation.
    """
    found, kind = layout.find_occupant(root, entry.id)
    if kind in (Kind.CONVERSATION, Kind.OTHER):
        raise _refusal(root, found, entry)
    return found if kind is Kind.GHOST else None


def _refusal(root: Path, directory: str, entry: TrashEntry) -> ConversationExists | DirectoryTaken:
    if layout.find_kind(root, directory) is Kind.OTHER:
        return layout.directory_taken(root, directory)
    return ConversationExists(
        f"conversation {directory} exists again; delete it first, or leave {entry.name} in the trash"
    )


def empty_trash(root: Path, before_us: int) -> Iterator[TrashEntry]:
    """Permanently remove entries that were deleted before a time, oldest first, and yield each.

    Continues after a failure.

    Raises:
        StoreUnavailable: the trash cannot be listed.
        WriteFailed: raised at the end if an entry could not be removed.
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
    """Return the entries that were deleted before a time, oldest first."""
    return [one for one in reversed(list_trash(root)) if one.deleted_at_us < before_us]


def remove(root: Path, entry: TrashEntry) -> bool:
    """Permanently remove an entry, and return whether it still existed.

    Raises:
        WriteFailed: a file could not be removed. The rest cannot be restored; emptying the trash removes it.
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
    """Remove a directory if it is a ghost (`layout.Kind`), and return whether it was."""
    if layout.find_kind(root, directory) is not Kind.GHOST:
        return False
    aside = _name_aside(root, "ghost")
    with durable.explain_errors(f"the lock files in {directory}"):
        _make_trash(root)
        rename(root / directory, aside)
        if layout.find_kind(aside.parent, aside.name) not in (Kind.GHOST, None):  # another program just wrote into it
            rename(aside, root / directory)
            return False
    remove_tree(aside)
    return True


def _name_aside(root: Path, what: str) -> Path:
    return root / TRASH / f".{what}-{secrets.token_hex(8)}"


def delete_conversation(root: Path, directory: str, instance: str, now_us: int, *, force: bool = False) -> TrashEntry:
    """Move a conversation into the trash, durably.

    A write in progress finishes first; a later one by its owner is refused. On a full disk, no lease can be written;
    then the ownership is only checked, so that deleting still works and frees space.

    Raises:
        ConversationOwned: another owner is alive; `force` deletes anyway.
        ConversationNotFound: there is no such conversation.
        LockTimeout: another program kept a lock.
        DiskFull, WriteFailed: the move failed; nothing changed.
    """
    claimed: ClaimedLease | None = None
    with suppress(DiskFull):
        claimed = lease.claim(root, directory, instance, force=force)
    with lease.open_to_write(root, directory) as fd, ExitStack() as locks:
        try:
            events_fd = locks.enter_context(layout.open_directory(layout.EVENTS, fd))
        except OSError:
            pass  # without events/ there is no log to lock
        else:
            locks.enter_context(hold_lock(LOG_LOCK, LOG_LOCK_TIMEOUT_S, dir_fd=events_fd))
        if claimed is None:
            locks.enter_context(lease.hold_unclaimed(directory, root, fd, instance, force=force))
        else:
            locks.enter_context(lease.hold_lease(root, directory, fd, claimed.lease))
            with suppress(DiskFull):  # the lease moves into the trash
                lease.undo_claim_locked(root, fd, claimed)
        return move_to_trash(root, directory, now_us)
