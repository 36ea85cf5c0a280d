"""Mending a conversation's files, and its rows with them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from app.files import conversation_repair
from app.files.conversation_repair import Repair
from app.files.layout import Named
from app.files.metadata_reader import Reader
from app.index.sqlite.database import Index
from app.model.ids import ConversationId
from app.store.read.lookup import get_directory
from app.store.write.backlog import Backlog


async def repair(
    index: Index, reader: Reader, backlog: Backlog, conversation_id: ConversationId, instance: str, *, dry_run: bool
) -> Repair:
    """Mend what has one safe answer, or with `dry_run` say what would be, and return it.

    Raises:
        ConversationNotFound: there is none.
        ConversationOwned: another owner lives.
        DiskFull, WriteFailed: not all of it was mended; a copy of how it was is in the trash.
    """
    directory = await get_directory(index, reader.root, conversation_id)
    if dry_run:
        return await asyncio.to_thread(conversation_repair.plan, reader, directory, conversation_id)
    now_us = time.time_ns() // 1000
    done = await asyncio.to_thread(conversation_repair.repair, reader, directory, conversation_id, instance, now_us)
    shown = await backlog.read_all_again(Named(directory, conversation_id))
    return replace(done, warning=shown.warning)
