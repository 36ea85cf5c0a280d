"""Archiving and pinning a conversation that cannot be opened for writing, and its row with it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

from app.files import marking
from app.files.layout import Named
from app.files.scan import Reader
from app.index.engine import Index
from app.model.ids import ConversationId
from app.store.locating import get_directory
from app.store.refresh import refresh


async def mark(
    index: Index,
    reader: Reader,
    conversation_id: ConversationId,
    instance: str,
    fields: Mapping[str, bool],
    *,
    force: bool,
) -> None:
    """Set fields of its convstore.json.

    Raises:
        ConversationNotFound: there is none.
        ConversationOwned: another owner lives; `force` takes it over.
        DiskFull, WriteFailed: it could not be written.
    """
    directory = await get_directory(index, reader.root, conversation_id)
    await asyncio.to_thread(partial(marking.mark, reader.root, directory, instance, fields, force=force))
    await refresh(index, reader, [Named(directory, conversation_id)])
