"""Changes of what lists show that need no open conversation: whether they could be done, flags, and repair."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from app.errors import ConversationNotFound
from app.files import conversation_repair, layout, metadata_reader, sidecar
from app.files.conversation_repair import Repair
from app.files.edit import TagEdit
from app.files.layout import ConversationDir
from app.model.conversation import ConversationFiles
from app.model.ids import ConversationId, dashed
from app.model.validation import check_tags, find_tags
from app.store.context import StoreContext
from app.store.read.lookup import get_directory
from app.store.write.backlog import Backlog, Done
from app.store.write.deletion import require_deletable


async def require_writable(context: StoreContext, conversation_id: ConversationId, instance: str) -> ConversationFiles:
    """Make sure that title and tags could be set, and return what the files hold. Changes nothing."""
    await require_deletable(context, conversation_id, instance)  # who may delete it may write to it
    directory = await get_directory(context, conversation_id)
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
    """Make sure that the tags could be changed. Changes nothing."""
    check_tags(change(find_tags(await require_writable(context, conversation_id, instance))))


async def set_flags(
    context: StoreContext,
    backlog: Backlog,
    conversation_id: ConversationId,
    instance: str,
    fields: Mapping[str, bool],
    *,
    force: bool,
) -> Done:
    """Set fields of its convstore.json."""
    directory = await get_directory(context, conversation_id)
    await asyncio.to_thread(partial(sidecar.set_flags, context.root, directory, instance, fields, force=force))
    return await backlog.read_again([ConversationDir(directory, conversation_id)])


async def repair(
    context: StoreContext, backlog: Backlog, conversation_id: ConversationId, instance: str, *, dry_run: bool
) -> Repair:
    """Mend what has one safe answer, or with `dry_run` say what would be, and return it."""
    directory = await get_directory(context, conversation_id)
    if dry_run:
        return await asyncio.to_thread(conversation_repair.plan, context.reader, directory, conversation_id)
    now_us = time.time_ns() // 1000
    done = await asyncio.to_thread(
        conversation_repair.repair, context.reader, directory, conversation_id, instance, now_us
    )
    shown = await backlog.read_all_again(ConversationDir(directory, conversation_id))
    return replace(done, warning=shown.warning)
