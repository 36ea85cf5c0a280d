"""Where a conversation is: as the index has it, which is what lists show, else as its files are found on disk."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from app.errors import ConversationNotFound, IndexBusy, IndexUnusable
from app.files import layout
from app.index import conversations
from app.index.engine import Index
from app.model.ids import ConversationId, dashed


async def find_directory(index: Index, root: Path, conversation_id: ConversationId) -> str | None:
    """Return the name of a conversation's directory, or None when there is none.

    Raises:
        StoreUnavailable: the disk does not say.
    """
    located = None
    with suppress(IndexBusy, IndexUnusable):
        async with index.read() as connection:
            located = await conversations.locate_conversation(connection, conversation_id)
    if located is not None and await asyncio.to_thread(layout.is_directory, root, located.directory):
        return located.directory
    return await asyncio.to_thread(layout.find_directory, root, conversation_id)


async def get_directory(index: Index, root: Path, conversation_id: ConversationId) -> str:
    """Return the name of a conversation's directory.

    Raises:
        ConversationNotFound: there is none.
        StoreUnavailable: the disk does not say.
    """
    directory = await find_directory(index, root, conversation_id)
    if directory is None:
        raise ConversationNotFound(f"no conversation has the id {dashed(conversation_id)}")
    return directory
