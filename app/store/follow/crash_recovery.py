"""Crash recovery: ingests the conversations that dead owners had open, and ends their interrupted runs.

A dirty flag is durably written to the index before the first file of a conversation is written (`app.index.ownership`).
So the flags of dead owners name the conversations to read. Ingest changes none of their files. HEAD and an interrupted
run are corrected when the conversation is next opened for writing.

A run is ended as agent-server 1.58 does it: `running` becomes `error`, and an action without a result gets one. A
second attempt changes nothing, because the action then has a result.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...errors import WriteFailed
from ...files import liveness
from ...files.layout import ConversationDir
from ...files.lease import Lease
from ...files.log import event_log
from ...files.log.edit import Edit, Written
from ...files.open_conversation import OpenConversation
from ...index import conversation_lookup, ownership
from ...index.connections import WriteConnection
from ...index.conversation_lookup import IndexedState
from ...model.filters import Status
from ...model.ids import ConversationId
from ...model.validation import complete_event, find_unfinished_action, interrupted_error
from ..context import StoreContext
from .ingest import ingest

log = logging.getLogger(__name__)

_BATCH = 50


class Recovered(NamedTuple):
    """The conversations that were read again after a crash, and those whose run was ended."""

    read: list[ConversationId]
    ended: list[ConversationId]


async def ingest_left_open(context: StoreContext) -> list[ConversationId]:
    """Ingest the conversations that dead owners had open, clear their dirty flags, and return their ids."""
    async with context.index.read() as connection:
        dirty = await conversation_lookup.list_dirty(connection)
    left = await asyncio.to_thread(_select_dead, context.root, dirty)
    for begin in range(0, len(left), _BATCH):
        batch = left[begin : begin + _BATCH]
        await ingest(context, [ConversationDir(one.directory, one.id) for one in batch])
        await context.index.write(partial(_clear_marks, batch=batch))
    if left:
        log.info("read %d conversations again that were open during a crash", len(left))
    return [one.id for one in left]


def _clear_marks(connection: WriteConnection, batch: Sequence[IndexedState]) -> None:
    for one in batch:
        if one.dirty_by is not None:
            ownership.clear_dirty(connection, one.id, one.dirty_by)


def _select_dead(root: Path, dirty: Sequence[IndexedState]) -> list[IndexedState]:
    owners = {one.dirty_by for one in dirty if one.dirty_by is not None}
    dead = {owner for owner in owners if not liveness.is_alive(root, owner)}
    return [one for one in dirty if one.dirty_by in dead]


async def end_interrupted_run(files: OpenConversation, write: Callable[[Edit], Awaitable[Written]]) -> None:
    """Set the status to error, and append one AgentErrorEvent for the first action without a result, if any.

    `write` writes to the conversation of `files`.

    Raises:
        DiskFull, WriteFailed: the status could not be set. The event may be appended; the call may be repeated.
    """
    events = await asyncio.to_thread(_make_errors, files)
    written = await write(Edit(events=events, state={"execution_status": Status.ERROR.value}))
    if files.broken:
        raise WriteFailed(f"conversation {files.id}: its run could not be ended: {written.warning}")
    log.info("conversation %s was running when its owner died; its status is now error", files.id)


def was_left_open(before: Lease | None, instance: str) -> bool:
    """Whether the previous owner ended without releasing its lease. True also if there is no lease."""
    return before is None or (not before.released and before.owner != instance)


def _make_errors(files: OpenConversation) -> list[dict[str, object]]:
    names = event_log.list_events(files.reader, files.directory)
    action = find_unfinished_action(event_log.iter_objects(files.reader, files.directory, names))
    return [] if action is None else [complete_event(interrupted_error(action), files.reader.zone)]
