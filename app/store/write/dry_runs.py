"""Dry runs: check whether a conversation could be deleted or edited, without making a change."""

from __future__ import annotations

import asyncio
from functools import partial

from app.errors import ConversationNotFound, ConversationOwned
from app.files import layout, lease, metadata_reader
from app.files.open_conversation import TagEdit
from app.model.conversation import ConversationFiles
from app.model.ids import ConversationId, dashed
from app.model.validation import check_tags, find_tags
from app.store.context import StoreContext
from app.store.read.lookup import get_directory


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
    """Raise the errors of changing the tags."""
    check_tags(change(find_tags(await require_writable(context, conversation_id, instance))))
