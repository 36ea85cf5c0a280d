"""Where a conversation is: as the index has it, which is what lists show, else as its files are found on disk."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from app.errors import ConversationNotFound, IndexBusy, IndexUnusable
from app.files import layout
from app.files.layout import Kind
from app.index import conversation_lookup
from app.index.sqlite.database import Index
from app.model.ids import ConversationId, dashed


async def find_directory(index: Index, root: Path, conversation_id: ConversationId) -> str | None:
    """Return the name of a conversation's directory, or of what stands in its place; None when there is nothing.

    Raises:
        StoreUnavailable: the disk does not say.
    """
    located = None
    with suppress(IndexBusy, IndexUnusable):
        async with index.read() as connection:
            located = await conversation_lookup.locate_conversation(connection, conversation_id)
    if located is not None and await asyncio.to_thread(_holds_conversation, root, located.directory):
        return located.directory
    return await asyncio.to_thread(layout.find_directory, root, conversation_id)


def _holds_conversation(root: Path, directory: str) -> bool:
    return layout.is_directory(root, directory) and layout.find_kind(root, directory) is Kind.CONVERSATION


async def find_occupant(index: Index, root: Path, conversation_id: ConversationId) -> tuple[str, Kind | None]:
    """Return what stands where a conversation is or would be: a name in `root` and its kind, None for nothing.

    Raises:
        StoreUnavailable: the disk does not say.
    """
    name = await find_directory(index, root, conversation_id) or conversation_id
    return name, await asyncio.to_thread(layout.find_kind, root, name)


async def get_directory(index: Index, root: Path, conversation_id: ConversationId) -> str:
    """Return the name of a conversation's directory.

    Raises:
        ConversationNotFound: there is none.
        StoreUnavailable: the disk does not say.
    """
    directory, kind = await find_occupant(index, root, conversation_id)
    if kind is not Kind.CONVERSATION:
        other = f"; {root / directory} is something else, and is left as it is" if kind is Kind.OTHER else ""
        raise ConversationNotFound(f"no conversation has the id {dashed(conversation_id)}{other}")
    return directory
