"""The ids of messages, which tell what a search has to know of each match without looking at any table.

An id is the hour of the message, the key of its conversation, and a number: so the newest matches are those with the
highest ids, which FTS5 gives first without sorting; and which conversation a match is in costs a shift, where a look
into an index took a million matches 200 ms. Cost: within one hour, messages stand in the order of their conversations.
"""

from __future__ import annotations

from app.errors import IndexUnusable

_NUMBER_BITS, _KEY_BITS, _HOUR_BITS = 18, 25, 20
"""262,144 messages of a conversation in an hour, 33 million conversations, hours until 2089: 63 bits."""

_HOUR_US = 3_600_000_000
_HOUR_SHIFT = _NUMBER_BITS + _KEY_BITS

NUMBERS = 1 << _NUMBER_BITS
"""How many ids a conversation has for an hour; what is said beyond is not searched."""

CONVERSATION_OF_MATCH = f"((message_fts.rowid >> {_NUMBER_BITS}) & {(1 << _KEY_BITS) - 1})"
"""SQL for the key of the conversation that a match is in."""


def first_id(time_us: int | None, conversation: int) -> int:
    """Return the first of the ids for what was said at a time, None when nobody knows, in a conversation.

    Raises:
        IndexUnusable: the index had more conversations than ids have room for.
    """
    if conversation >> _KEY_BITS:
        raise IndexUnusable(
            "this index has numbered 33 million conversations and has no number left; run `convstore index rebuild`"
        )
    hour = min(max(time_us or 0, 0) // _HOUR_US, (1 << _HOUR_BITS) - 1)
    return hour << _HOUR_SHIFT | conversation << _NUMBER_BITS


def is_among(message_id: int, first: int) -> bool:
    """Whether an id is one of those that begin with `first`."""
    return first <= message_id < first + NUMBERS


def hour_of(message_id: int) -> int:
    """Return the hour since 1970."""
    return message_id >> _HOUR_SHIFT
