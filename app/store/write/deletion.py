"""Deleting and restoring: one rename each, and the rows with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from app.errors import ConversationOwned, NotInTrash, UnreadableFile
from app.files import layout, lease, trash
from app.files.layout import ConversationDir
from app.files.trash import TrashEntry
from app.model.conversation import TITLE_MAX, truncate_text
from app.model.event import parse_json_object
from app.model.ids import ConversationId, dashed
from app.store.context import StoreContext
from app.store.read.lookup import get_directory
from app.store.write.backlog import Backlog, Done


async def delete(
    context: StoreContext,
    backlog: Backlog,
    conversation_id: ConversationId,
    instance: str,
    *,
    permanent: bool = False,
    force: bool = False,
) -> Done:
    """Move a conversation into the trash, or with `permanent` remove it for good. Opens nothing in it."""
    root = context.root
    directory = await get_directory(context, conversation_id)
    now_us = time.time_ns() // 1000
    entry = await asyncio.to_thread(trash.delete_conversation, root, directory, instance, now_us, force=force)
    done = await backlog.delete_rows(ConversationDir(directory, conversation_id))
    if permanent:
        await asyncio.to_thread(trash.remove, root, entry)
    return done


async def require_deletable(
    context: StoreContext, conversation_id: ConversationId, instance: str, *, force: bool = False
) -> None:
    """Make sure that `delete` would be done. Changes nothing."""
    directory = await get_directory(context, conversation_id)
    holder = await asyncio.to_thread(lease.find_holder, context.root, directory)
    if not force and holder is not None and holder.owner != instance:
        raise ConversationOwned(lease.describe_owner(directory, holder))


def require_restorable(root: Path, conversation_id: ConversationId) -> TrashEntry:
    """Make sure that `restore` would be done, and return what it would put back. Changes nothing.

    Raises:
        NotInTrash, ConversationExists, DirectoryTaken: as `restore`.
    """
    entry = trash.find_in_trash(root, conversation_id)
    if entry is None:
        raise NotInTrash(
            f"the trash holds no conversation {dashed(conversation_id)}; see `GET /api/trash` or `convstore trash list`"
        )
    trash.require_room(root, entry)
    return entry


async def restore(root: Path, backlog: Backlog, conversation_id: ConversationId) -> Done:
    """Put the last deleted conversation of this id back."""
    entry = await asyncio.to_thread(require_restorable, root, conversation_id)
    directory = await asyncio.to_thread(trash.restore, root, entry)
    return await backlog.read_again([ConversationDir(directory, conversation_id)])


async def empty(root: Path, before_us: int) -> AsyncGenerator[TrashEntry]:
    """Remove for good what was deleted before a time, the oldest first, and give each as it is gone."""
    removed = trash.empty_trash(root, before_us)
    while (entry := await asyncio.to_thread(next, removed, None)) is not None:
        yield entry


def list_titled(root: Path, offset: int, limit: int | None) -> tuple[list[tuple[TrashEntry, str | None]], int]:
    """Return what is in the trash with titles, the last deleted first, and how many there are. Reads meta.json."""
    entries = trash.list_trash(root)
    wanted = entries[offset:] if limit is None else entries[offset : offset + limit]
    return [(one, _title(root, one)) for one in wanted], len(entries)


def _title(root: Path, entry: TrashEntry) -> str | None:
    try:
        with layout.open_directory(root / trash.TRASH / entry.name) as fd:
            title = parse_json_object(layout.read_file(layout.META, fd)[0]).get("title")
    except (OSError, UnreadableFile):
        return None
    return truncate_text(title, TITLE_MAX)
