"""Which conversations are meant by the beginning of an id, or by a filter."""

from __future__ import annotations

import re

from app.errors import ConversationNotFound, InvalidId
from app.index import conversation_list, conversation_lookup
from app.index.sqlite.database import Index
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId, dashed, find_conversation_id

_IDS = 1000
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
    async with index.read(whole=True) as connection:
        found = await conversation_lookup.list_ids(connection, prefix, 5)
    if not found:
        raise ConversationNotFound(f"no conversation's id begins with {text!r}; see `convstore list`")
    if len(found) > 1:
        raise InvalidId(f"several ids begin with {text!r}: {', '.join(dashed(one) for one in found)}")
    return found[0]


async def list_ids(index: Index, asked: ConversationFilter) -> list[ConversationId]:
    """Return the ids of all conversations that the filter admits, in their order."""
    ids: list[ConversationId] = []
    while True:
        async with index.read(whole=True) as connection:
            found = await conversation_list.list_located(connection, asked, ids[-1] if ids else "", _IDS)
        ids += [one for one, _ in found]
        if len(found) < _IDS:
            return ids
