"""Which conversation is meant, and where it is.

An id may be given by its beginning. Where a conversation is, says the index, which is what lists show, else the disk.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path

from app.errors import ConversationNotFound, IndexBusy, IndexUnusable, InvalidId
from app.files import layout
from app.files.layout import Kind
from app.index import conversation_list, conversation_lookup
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId, dashed, find_conversation_id
from app.store.context import StoreContext

_IDS = 1000
_PREFIX = re.compile(r"[0-9a-f]{4,32}")


async def find_directory(context: StoreContext, conversation_id: ConversationId) -> str | None:
    """Return the name of a conversation's directory, or of what stands in its place; None when there is nothing.

    Raises:
        StoreUnavailable: the disk does not say.
    """
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
    """Return what stands where a conversation is or would be: a name in `root` and its kind, None for nothing.

    Raises:
        StoreUnavailable: the disk does not say.
    """
    name = await find_directory(context, conversation_id) or conversation_id
    return name, await asyncio.to_thread(layout.find_kind, context.root, name)


async def get_directory(context: StoreContext, conversation_id: ConversationId) -> str:
    """Return the name of a conversation's directory.

    Raises:
        ConversationNotFound: there is none.
        StoreUnavailable: the disk does not say.
    """
    directory, kind = await find_occupant(context, conversation_id)
    if kind is not Kind.CONVERSATION:
        other = f"; {context.root / directory} is something else, and is left as it is" if kind is Kind.OTHER else ""
        raise ConversationNotFound(f"no conversation has the id {dashed(conversation_id)}{other}")
    return directory


async def resolve(context: StoreContext, text: str) -> ConversationId:
    """Return the id that `text` is, or the beginning of (four characters or more), without ambiguity."""
    whole = find_conversation_id(text)
    if whole is not None:
        return whole
    prefix = text.replace("-", "").lower()
    if not _PREFIX.fullmatch(prefix):
        raise InvalidId(f"{text[:64]!r} is no conversation id, nor the first 4 or more digits of one")
    async with context.index.read(whole=True) as connection:
        found = await conversation_lookup.list_ids(connection, prefix, 5)
    if not found:
        raise ConversationNotFound(f"no conversation's id begins with {text!r}; see `convstore list`")
    if len(found) > 1:
        raise InvalidId(f"several ids begin with {text!r}: {', '.join(dashed(one) for one in found)}")
    return found[0]


async def list_ids(context: StoreContext, asked: ConversationFilter) -> list[ConversationId]:
    """Return the ids of all conversations that the filter admits, in their order."""
    ids: list[ConversationId] = []
    while True:
        async with context.index.read(whole=True) as connection:
            found = await conversation_list.list_located(connection, asked, ids[-1] if ids else "", _IDS)
        ids += [one for one, _ in found]
        if len(found) < _IDS:
            return ids
