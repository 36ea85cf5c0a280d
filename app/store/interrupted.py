"""Ending a run that a crash cut off: `running` becomes `error`, and an action without a result gets one.

As agent-server 1.58 does when it opens such a conversation; never twice, since the second time the action has a result.
"""

from __future__ import annotations

import asyncio
import logging

from app.errors import WriteFailed
from app.files.edit import Change
from app.files.lease import Lease
from app.files.log import event_log
from app.files.open_conversation import OpenFiles
from app.model.event import parse_json_object
from app.model.filters import Status
from app.model.validation import complete_event, find_unfinished_action, interrupted_error
from app.store.write.conversation_writer import Conversation

log = logging.getLogger(__name__)


async def end_interrupted_run(conversation: Conversation) -> None:
    """Set the status to error, and append one AgentErrorEvent for the first action without a result, if any.

    Raises:
        DiskFull, WriteFailed: the status could not be set, whether the event was appended or not; do it again.
    """
    events = await asyncio.to_thread(_errors, conversation.files)
    written = await conversation.write(Change(events=events, state={"execution_status": Status.ERROR.value}))
    if conversation.files.broken:
        raise WriteFailed(f"conversation {conversation.id}: its run could not be ended: {written.warning}")
    log.info("conversation %s was running when its owner died; it is in error now", conversation.id)


def was_left(before: Lease | None, instance: str) -> bool:
    """Whether the owner before `instance` ended without giving its lease back, or took none."""
    return before is None or (not before.released and before.owner != instance)


def _errors(files: OpenFiles) -> list[dict[str, object]]:
    names = event_log.list_events(files.reader, files.directory)
    found = event_log.read_events(files.reader, files.directory, names)
    action = find_unfinished_action(parse_json_object(one.raw) for one in found if one.unreadable is None)
    return [] if action is None else [complete_event(interrupted_error(action), files.reader.zone)]
