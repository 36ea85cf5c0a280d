"""A ConversationInfo with the agent's skills, which the index does not keep: composed from the files."""

from __future__ import annotations

import asyncio

import orjson

from app.files import scan
from app.files.scan import Reader
from app.index import conversations
from app.index.engine import Index
from app.model.conversation import fold
from app.model.ids import ConversationId


async def with_skills(index: Index, reader: Reader, body: bytes) -> bytes:
    """Compose a ConversationInfo anew from its files, skills included; the index keeps none."""
    info = orjson.loads(body)
    conversation_id = ConversationId(info["id"].replace("-", ""))
    async with index.read() as connection:
        located = await conversations.locate_conversation(connection, conversation_id)
    if located is None:
        return body
    return await asyncio.to_thread(_compose, reader, body, located.directory, conversation_id)


def _compose(reader: Reader, body: bytes, directory: str, conversation_id: ConversationId) -> bytes:
    files = scan.read_conversation(reader, directory, conversation_id)
    if files is None:
        return body
    whole = orjson.loads(fold(files, include_skills=True).body)
    listed = orjson.loads(body)
    whole |= {name: listed[name] for name in ("owner", "sub_conversation_ids")}
    return orjson.dumps(whole)
