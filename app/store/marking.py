"""Archiving and pinning a conversation that cannot be opened for writing, and its row with it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from app.files import sidecar
from app.files.layout import Named
from app.index.sqlite.database import Index
from app.model.ids import ConversationId
from app.store.read.lookup import get_directory
from app.store.write.backlog import Backlog, Done


async def mark(
    index: Index,
    root: Path,
    backlog: Backlog,
    conversation_id: ConversationId,
    instance: str,
    fields: Mapping[str, bool],
    *,
    force: bool,
) -> Done:
    """Set fields of its convstore.json.

    Raises:
        ConversationNotFound: there is none.
        ConversationOwned: another owner lives; `force` takes it over.
        DiskFull, WriteFailed: it could not be written.
    """
    directory = await get_directory(index, root, conversation_id)
    await asyncio.to_thread(partial(sidecar.mark, root, directory, instance, fields, force=force))
    return await backlog.read_again([Named(directory, conversation_id)])
