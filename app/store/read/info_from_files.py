"""ConversationInfo composed from the files, for the agent's skills (which no row has) or if the row is out of date."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import orjson

from app.errors import ConversationNotFound, IndexBusy, IndexUnusable
from app.files import lease, metadata_reader
from app.files.metadata_reader import Reader
from app.index import conversation_lookup
from app.index.conversation_body import compose_info_body
from app.model.conversation import fold
from app.model.ids import ConversationId, dashed
from app.store.context import StoreContext
from app.store.read.lookup import get_directory


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
    whole = orjson.loads(fold(files, include_skills=True).body)
    listed = orjson.loads(body)
    whole |= {name: listed[name] for name in ("owner", "sub_conversation_ids")}
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
    body = fold(files, include_skills=include_skills).body
    return compose_info_body(body, holder.owner if holder else None, ",".join(children))
