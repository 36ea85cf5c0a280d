"""Deleting and restoring a conversation by one rename and an update of its rows; and emptying the trash.

The `require_` functions are dry runs: they raise the errors of deleting or editing a conversation without a change.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

from ...errors import ConversationNotFound, ConversationOwned, InvalidConversation, NotInTrash, UnreadableFile
from ...files import layout, lease, metadata_reader, subagents, trash
from ...files.layout import ConversationDir
from ...files.log.edit import TagEdit
from ...files.trash import Deleted, TrashEntry
from ...model.conversation import TITLE_MAX, ConversationFiles, truncate_text
from ...model.event import parse_json_object
from ...model.ids import ConversationId, dashed, find_parent_in_path
from ...model.validation import check_tags, find_tags
from ..context import StoreContext
from ..read.lookup import get_directory
from .backlog import Backlog, Done


async def delete(
    context: StoreContext,
    backlog: Backlog,
    conversation_id: ConversationId,
    instance: str,
    *,
    permanent: bool = False,
    force: bool = False,
) -> Done:
    """Rename a conversation's directory into the trash, delete its rows, and with `permanent` remove the directory."""
    root = context.root
    directory = await get_directory(context, conversation_id)
    if find_parent_in_path(directory) is not None:
        raise InvalidConversation(
            f"{dashed(conversation_id)} is a sub-agent's conversation, and is deleted and restored with its parent "
            f"{dashed(find_parent_in_path(directory) or '')}"
        )
    below = await asyncio.to_thread(subagents.list_below, root, directory)
    now_us = time.time_ns() // 1000
    entry = await asyncio.to_thread(trash.delete_conversation, root, directory, instance, now_us, force=force)
    done = await backlog.delete_rows([ConversationDir(directory, conversation_id), *below])
    if permanent:
        await asyncio.to_thread(trash.remove, root, entry)
        if done.warning is not None:  # the removal may have freed the space that the index needs
            done = await backlog.delete_rows([ConversationDir(directory, conversation_id), *below])
    return done


def require_restorable(root: Path, conversation_id: ConversationId, deleted: Deleted | None = None) -> TrashEntry:
    """Raise the errors of `restore`, or return the trash entry that it would restore."""
    entry = _get_in_trash(root, conversation_id, deleted)
    trash.require_room(root, entry)
    return entry


def _get_in_trash(root: Path, conversation_id: ConversationId, deleted: Deleted | None = None) -> TrashEntry:
    entry = trash.find_in_trash(root, conversation_id, deleted)
    if entry is None:
        raise NotInTrash(
            f"the trash has no conversation {dashed(conversation_id)}; see `GET /api/trash` or `convstore trash list`"
        )
    return entry


def remove_from_trash(root: Path, conversation_id: ConversationId) -> None:
    """Permanently remove the most recently deleted conversation with this id."""
    trash.remove(root, _get_in_trash(root, conversation_id))


async def restore(
    root: Path, backlog: Backlog, conversation_id: ConversationId, deleted: Deleted | None = None
) -> Done:
    """Rename the most recently deleted conversation with this id back, and write its rows."""
    entry = await asyncio.to_thread(require_restorable, root, conversation_id, deleted)
    directory = await asyncio.to_thread(trash.restore, root, entry)
    return await backlog.upsert_rows([ConversationDir(directory, conversation_id)])


async def empty(root: Path, before_us: int) -> AsyncGenerator[TrashEntry]:
    """Permanently remove entries that were deleted before a time, oldest first. Yields each entry after its removal."""
    removed = trash.empty_trash(root, before_us)
    while (entry := await asyncio.to_thread(next, removed, None)) is not None:
        yield entry


def list_titled(root: Path, offset: int, limit: int | None) -> tuple[list[tuple[TrashEntry, str | None]], int]:
    """Return the entries of the trash with their titles, most recently deleted first, and the total number."""
    entries = trash.list_trash(root)
    page = entries[offset:] if limit is None else entries[offset : offset + limit]
    return [(entry, _find_title(root, entry)) for entry in page], len(entries)


def _find_title(root: Path, entry: TrashEntry) -> str | None:
    try:
        with layout.open_directory(root / trash.TRASH / entry.name) as fd:
            title = parse_json_object(layout.read_file(layout.META, fd)[0]).get("title")
    except (OSError, UnreadableFile):
        return None
    return truncate_text(title, TITLE_MAX)


async def require_deletable(
    context: StoreContext, conversation_id: ConversationId, instance: str, *, force: bool = False
) -> str:
    """Raise the errors of `delete`, or return the directory."""
    directory = await get_directory(context, conversation_id)
    holder = await asyncio.to_thread(lease.find_holder, context.root, directory)
    if not force and holder is not None and holder.owner != instance:
        raise ConversationOwned(lease.describe_owner(directory, holder))
    return directory


async def require_writable(context: StoreContext, conversation_id: ConversationId, instance: str) -> ConversationFiles:
    """Raise the errors of setting title or tags, or return the conversation's files."""
    directory = await require_deletable(context, conversation_id, instance)  # deleting and writing need the same lease
    read = partial(metadata_reader.read_conversation, context.reader, directory, conversation_id, with_log=False)
    files = await asyncio.to_thread(read)
    if files is None:
        raise ConversationNotFound(f"no conversation has the id {dashed(conversation_id)}")
    torn = files.meta is None and any(problem.startswith(layout.META) for problem in files.problems)
    if files.failed or files.state is None or torn:
        raise metadata_reader.not_writable(directory, files)
    return files


async def require_taggable(
    context: StoreContext, conversation_id: ConversationId, instance: str, change: TagEdit
) -> None:
    """Raise the error that a change of the tags would raise."""
    check_tags(change(find_tags(await require_writable(context, conversation_id, instance))))
