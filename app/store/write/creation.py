"""New conversations: created by a request, or forked. Each is built in a staging directory and then renamed.

Secrets in a request are encrypted in agent-server's format, or masked. They are never stored in plain text.

Source: openhands-sdk 1.58, utils/cipher.py: Fernet with the SHA-256 of OH_SECRET_KEY.
"""

from __future__ import annotations

import asyncio
import os
import time
from base64 import b64encode
from collections import deque
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any
from uuid import uuid4

import orjson

from ...errors import (
    ConversationExists,
    ConversationNotFound,
    EventNotFound,
    InvalidConversation,
    ParentRefused,
    UnreadableFile,
)
from ...files import layout, metadata_reader, staging
from ...files.layout import ConversationDir, Kind
from ...files.log.branches import Fork, read_fork
from ...files.metadata_reader import Reader
from ...model.archive_format import ArchiveFile, FileInPieces
from ...model.ids import ConversationId, EventName, dashed, event_file_name, find_conversation_id
from ...model.new_conversation import Seal, compose_new, mask_all
from ...model.validation import check_title, complete_event, dump_event, make_message
from ...settings import Settings
from ..context import StoreContext
from ..follow.index_settings import adopt_index_settings
from ..read.lookup import find_occupant
from .backlog import Backlog, Created, Done

STAGING = ".new-"


async def create(context: StoreContext, backlog: Backlog, request: Mapping[str, Any], seal: Seal) -> Created:
    """Create a conversation from a StartConversationRequest, unless its id already exists."""
    if not isinstance(request, Mapping):  # a caller of the library may have no type checker
        raise InvalidConversation(f"a request to create a conversation is a dictionary, not {type(request).__name__}")
    await adopt_index_settings(context)
    conversation_id = _make_id(request.get("conversation_id"))
    if await _exists(context, conversation_id):
        return Created(conversation_id, is_new=False)
    await _check_parent(context, request, conversation_id)
    files = list(_make_files(context.reader, request, conversation_id, seal))
    try:
        await asyncio.to_thread(staging.publish_new, context.root, conversation_id, files, staging_prefix=STAGING)
    except ConversationExists:
        return Created(conversation_id, is_new=False)
    done = await backlog.upsert_rows([ConversationDir(conversation_id, conversation_id)])
    return Created(conversation_id, is_new=True, warning=done.warning)


def _make_id(given: object) -> ConversationId:
    if given is None:
        return ConversationId(uuid4().hex)
    found = find_conversation_id(given) if isinstance(given, str) else None
    if found is None:
        raise InvalidConversation(f"conversation_id {str(given)[:64]!r} is invalid; an id has 32 hexadecimal digits")
    return found


async def _exists(context: StoreContext, conversation_id: ConversationId) -> bool:
    """Whether a conversation has this id. Raises DirectoryTaken if something else uses its directory's name."""
    name, kind = await find_occupant(context, conversation_id)
    if kind is Kind.OTHER:
        raise layout.directory_taken(context.root, name)
    return kind is Kind.CONVERSATION


async def _check_parent(context: StoreContext, request: Mapping[str, Any], conversation_id: ConversationId) -> None:
    given = request.get("parent_conversation_id")
    if given is None:
        return
    parent = find_conversation_id(given) if isinstance(given, str) else None
    directory, kind = (None, None) if parent is None else await find_occupant(context, parent)
    if parent is None or directory is None or kind is not Kind.CONVERSATION or parent == conversation_id:
        raise ParentRefused(
            f"parent_conversation_id {str(given)[:64]!r} is not the id of another conversation in this store"
        )
    files = await asyncio.to_thread(metadata_reader.read_conversation, context.reader, directory, parent)
    theirs, ours = _working_dir((files.meta or files.state) if files else None), _working_dir(request)
    if theirs is None or ours is None or theirs != ours:
        raise ParentRefused(
            f"the parent conversation {dashed(parent)} has another workspace; choose the same, or no parent"
        )


def _working_dir(fields: Mapping[str, Any] | None) -> str | None:
    """Return the working directory in meta.json or a request in one spelling, or None."""
    workspace = (fields or {}).get("workspace")
    path = workspace.get("working_dir") if isinstance(workspace, dict) else None
    return os.path.realpath(path) if isinstance(path, str) else None


def _make_files(
    reader: Reader, request: Mapping[str, Any], conversation_id: ConversationId, seal: Seal
) -> Iterator[ArchiveFile]:
    try:
        request = orjson.loads(orjson.dumps(request))
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise InvalidConversation(f"the request cannot be written as JSON: {error}") from error
    title = request.get("title")
    if title is not None:
        request = {**request, "title": check_title(title)}
    meta, state = compose_new(request, conversation_id, time.time_ns() // 1000, seal)
    state["persistence_dir"] = str(reader.root / conversation_id)
    message = meta["initial_message"]
    if message is not None:
        event = complete_event(make_message(message["role"], message["content"]), reader.zone)
        name = EventName(0, event["id"])
        state["leaf_event_id"] = event["id"]
        if message["role"] == "user":
            state["last_user_message_id"] = event["id"]
        yield ArchiveFile(f"{layout.EVENTS}/{event_file_name(name)}", dump_event(event))
    yield ArchiveFile(layout.STATE, orjson.dumps(state))
    yield ArchiveFile(layout.META, orjson.dumps(meta))


async def fork(
    context: StoreContext, backlog: Backlog, source: ConversationDir, wanted: Fork, *, dry_run: bool
) -> Created:
    """Copy a conversation or its branch up to an event. Only reads the source."""
    await adopt_index_settings(context)
    if await _exists(context, wanted.id):
        raise ConversationExists(f"conversation {dashed(wanted.id)} already exists; choose another id, or none")
    await asyncio.to_thread(_publish_fork, context.reader, source, wanted, dry_run=dry_run)
    copy = ConversationDir(wanted.id, wanted.id)
    done = Done() if dry_run else await backlog.copy_rows(source.id, copy)
    return Created(wanted.id, is_new=not dry_run, warning=done.warning)


def _publish_fork(reader: Reader, source: ConversationDir, wanted: Fork, *, dry_run: bool) -> None:
    files = metadata_reader.read_conversation(reader, source.directory, source.id, event_count=0)
    if files is not None and files.meta is None:  # a new meta.json gets its times from the log
        files = metadata_reader.read_conversation(reader, source.directory, source.id)
    if files is None:
        raise ConversationNotFound(f"no conversation has the id {dashed(source.id)}")
    try:
        copied = read_fork(reader, files, wanted)
        if dry_run:
            for file in copied:  # reads the whole source
                deque(file.pieces if isinstance(file, FileInPieces) else (), maxlen=0)
        else:
            staging.publish_new(reader.root, wanted.id, copied, staging_prefix=STAGING, read_back=False)
    except UnreadableFile as error:
        raise UnreadableFile(
            f"conversation {source.directory} cannot be copied: {error}; "
            f"run `convstore repair {source.directory}`, which makes all safe repairs",
            failed=error.failed,
        ) from error
    except FileNotFoundError as error:
        raise EventNotFound(
            f"a file of conversation {dashed(source.id)} was deleted during the copy; try again"
        ) from error


def make_seal(settings: Settings) -> Seal:
    """Return the function that turns a secret into the text to store."""
    if settings.secret_key is None:
        return mask_all
    from cryptography.fernet import Fernet  # noqa: PLC0415 - slow to import, and only creating needs it

    fernet = Fernet(b64encode(sha256(settings.secret_key.get_secret_value().encode()).digest()))
    return lambda secret: fernet.encrypt(secret.encode()).decode()
