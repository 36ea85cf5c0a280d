"""Finding conversations: by the beginning of an id or by a filter, and finding a conversation's directory.

The directory is the one in the index, which lists show. If the index has none, the disk is searched. A
ConversationInfo is composed from the files if the row is not enough: for skills, which no row has, or for a row that is
not up to date.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path

import orjson

from ...errors import ConversationNotFound, IndexBusy, IndexUnusable, InvalidId
from ...files import layout, lease, metadata_reader
from ...files.layout import Kind
from ...files.metadata_reader import Reader
from ...index import conversation_list, conversation_lookup
from ...index.conversation_body import compose_info_body
from ...model.conversation import fold
from ...model.filters import ConversationFilter
from ...model.ids import ConversationId, dashed, find_conversation_id, strip_pasted
from ..context import StoreContext

_IDS = 1000
_PREFIX = re.compile(r"[0-9a-f]{4,32}")


async def find_directory(context: StoreContext, conversation_id: ConversationId) -> str | None:
    """Return the name of a conversation's directory, or None. The directory may be something other than a conversation.

    Raises:
        StoreUnavailable: the operating system refuses to read the conversations directory, or it is missing.
    """
    context.index.require_present()
    located = None
    with suppress(IndexBusy, IndexUnusable):
        async with context.index.read() as connection:
            located = await conversation_lookup.locate_conversation(connection, conversation_id)
    if located is not None and await asyncio.to_thread(_holds_conversation, context.root, located.directory):
        return located.directory
    return await asyncio.to_thread(layout.find_directory, context.root, conversation_id)


def _holds_conversation(root: Path, directory: str) -> bool:
    return layout.is_directory(root, directory) and layout.find_kind(root, directory) is Kind.CONVERSATION


async def find_occupant(context: StoreContext, conversation_id: ConversationId) -> tuple[str, Kind | None]:
    """Return the name of a conversation's directory and the kind of what is there, or None if nothing is there."""
    name = await find_directory(context, conversation_id) or conversation_id
    return name, await asyncio.to_thread(layout.find_kind, context.root, name)


async def get_directory(context: StoreContext, conversation_id: ConversationId) -> str:
    """Return the name of a conversation's directory, or raise ConversationNotFound."""
    directory, kind = await find_occupant(context, conversation_id)
    if kind is not Kind.CONVERSATION:
        other = f"; {context.root / directory} is not a conversation and was not changed" if kind is Kind.OTHER else ""
        raise ConversationNotFound(f"no conversation has the id {dashed(conversation_id)}{other}")
    return directory


async def resolve(context: StoreContext, text: str) -> ConversationId:
    """Return the only id that begins with `text`, which must have at least four digits."""
    text = strip_pasted(text)
    complete = find_conversation_id(text)
    if complete is not None:
        return complete
    prefix = text.replace("-", "").lower()
    if not _PREFIX.fullmatch(prefix):
        raise InvalidId(f"{text[:64]!r} is neither a conversation id nor the first 4 or more digits of one")
    async with context.index.read(whole=True) as connection:
        found = await conversation_lookup.list_ids(connection, prefix, 5)
    if not found:
        raise ConversationNotFound(f"no conversation's id begins with {text!r}; see `convstore list`")
    if len(found) > 1:
        raise InvalidId(f"several ids begin with {text!r}: {', '.join(dashed(one) for one in found)}")
    return found[0]


async def list_ids(context: StoreContext, filter_: ConversationFilter) -> list[ConversationId]:
    """Return the ids of all conversations that match, in ascending order."""
    ids: list[ConversationId] = []
    while True:
        async with context.index.read(whole=True) as connection:
            found = await conversation_list.list_located(connection, filter_, ids[-1] if ids else "", _IDS)
        ids += [conversation_id for conversation_id, _ in found]
        if len(found) < _IDS:
            return ids


async def add_skills(context: StoreContext, body: bytes) -> bytes:
    """Return the ConversationInfo `body` with the agent's skills, which only the files have."""
    info = orjson.loads(body)
    conversation_id = ConversationId(info["id"].replace("-", ""))
    async with context.index.read() as connection:
        located = await conversation_lookup.locate_conversation(connection, conversation_id)
    if located is None:
        return body
    return await asyncio.to_thread(_compose, context.reader, body, located.directory, conversation_id)


def _compose(reader: Reader, body: bytes, directory: str, conversation_id: ConversationId) -> bytes:
    files = metadata_reader.read_conversation(reader, directory, conversation_id)
    if files is None:
        return body
    whole = orjson.loads(fold(files, include_skills=True).whole_body)
    listed = orjson.loads(body)
    whole |= {name: listed[name] for name in ("owner", "sub_conversation_ids", "subagent_ids")}
    return orjson.dumps(whole)


async def compose_from_files(context: StoreContext, conversation_id: ConversationId, *, include_skills: bool) -> bytes:
    """Return a ConversationInfo from the files, or raise ConversationNotFound.

    Only the children come from the index.
    """
    directory = await get_directory(context, conversation_id)
    files = await asyncio.to_thread(metadata_reader.read_conversation, context.reader, directory, conversation_id)
    if files is None:
        raise ConversationNotFound(f"no conversation has the id {dashed(conversation_id)}")
    holder = await asyncio.to_thread(lease.find_holder, context.root, directory)
    children: list[ConversationId] = []
    with suppress(IndexBusy, IndexUnusable):
        async with context.index.read() as connection:
            children = await conversation_lookup.list_children(connection, conversation_id)
    body = fold(files, include_skills=include_skills).whole_body
    return compose_info_body(body, None, holder.owner if holder else None, ",".join(children))
