"""Which conversations are meant by the beginning of an id, or by a filter."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import orjson

from app.errors import ConversationNotFound, InvalidId
from app.index import conversations
from app.index.conversations import Page
from app.index.engine import Index
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId, dashed, find_conversation_id, parse_conversation_id
from app.model.page import SortOrder

_PREFIX = re.compile(r"[0-9a-f]{4,32}")


async def resolve(index: Index, text: str) -> ConversationId:
    """Return the id that `text` is, or the beginning of (four characters or more), without ambiguity.

    Raises:
        InvalidId: `text` can be the beginning of no id, or begins several.
        ConversationNotFound: it begins none.
    """
    whole = find_conversation_id(text)
    if whole is not None:
        return whole
    prefix = text.replace("-", "").lower()
    if not _PREFIX.fullmatch(prefix):
        raise InvalidId(f"{text[:64]!r} is no conversation id, nor the first 4 or more digits of one")
    index.require_whole()
    async with index.read() as connection:
        found = await conversations.list_ids(connection, prefix, 5)
    if not found:
        raise ConversationNotFound(f"no conversation's id begins with {text!r}; see `convstore list`")
    if len(found) > 1:
        raise InvalidId(f"several ids begin with {text!r}: {', '.join(dashed(one) for one in found)}")
    return found[0]


async def list_ids(list_page: Callable[..., Awaitable[Page]], asked: ConversationFilter) -> list[ConversationId]:
    """Return the ids of all conversations that the filter admits, the oldest first, from their pages."""
    ids: list[ConversationId] = []
    token = None
    while True:
        page = await list_page(asked, order=SortOrder.CREATED_AT, page_id=token)
        ids += [parse_conversation_id(orjson.loads(body)["id"]) for body in page.items]
        token = page.next_page_id
        if token is None:
            return ids
