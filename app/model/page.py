"""Sort orders, and the opaque token that leads from one page to the next.

Paging is by keyset: a token contains the sort key and id of the last row that was returned, so adding or deleting other
rows does not shift a page. In ascending order a token also contains the largest key at the start, so that paging ends
although updated rows keep moving to the end.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from enum import StrEnum
from typing import Generic, NamedTuple, TypeGuard, TypeVar

import orjson

from ..errors import InvalidToken

_VERSION = 1
_BAD = "the page token is damaged or from another version; request the first page again, without page_id"
_INT64 = range(-(2**63), 2**63)


class SortOrder(StrEnum):
    """Sort orders for conversations. By title, conversations without a title come before all others.

    RELEVANCE puts the best matches for `q` first; without `q` it means UPDATED_AT_DESC.
    """

    CREATED_AT = "CREATED_AT"
    UPDATED_AT = "UPDATED_AT"
    LAST_EVENT_AT = "LAST_EVENT_AT"
    TITLE = "TITLE"
    COST = "COST"
    EVENT_COUNT = "EVENT_COUNT"
    CREATED_AT_DESC = "CREATED_AT_DESC"
    UPDATED_AT_DESC = "UPDATED_AT_DESC"
    LAST_EVENT_AT_DESC = "LAST_EVENT_AT_DESC"
    TITLE_DESC = "TITLE_DESC"
    COST_DESC = "COST_DESC"
    EVENT_COUNT_DESC = "EVENT_COUNT_DESC"
    RELEVANCE = "RELEVANCE"

    @property
    def descending(self) -> bool:
        """Whether the largest key comes first."""
        return self.endswith("_DESC")

    @property
    def column(self) -> str:
        """The column that is sorted by; it is never null."""
        name = self.removesuffix("_DESC").lower()
        return "title_key" if name == "title" else name

    @property
    def key_type(self) -> type[int | float | str]:
        """The Python type of the column's values."""
        return {"title_key": str, "cost": float}.get(self.column, int)


COLUMN_ORDERS = tuple(order for order in SortOrder if order is not SortOrder.RELEVANCE)
"""The orders that sort by a column."""


class EventOrder(StrEnum):
    """Sort orders for events: the order of the log, or the reverse."""

    TIMESTAMP = "TIMESTAMP"
    TIMESTAMP_DESC = "TIMESTAMP_DESC"


class HitOrder(StrEnum):
    """Orders of the hits of a search in one conversation: the best first, or as they stand in the log."""

    RELEVANCE = "relevance"
    SEQ = "seq"


class View(StrEnum):
    """How much of a conversation a list shows: the whole ConversationInfo, or the short row that people read."""

    FULL = "full"
    ROW = "row"


Key = TypeVar("Key", bound=int | float | str)


class Cursor(NamedTuple, Generic[Key]):
    """The sort key and id of the last row before a page.

    `bound` is the largest key that an ascending walk still returns.
    """

    key: Key
    id: str
    bound: Key | None = None


def encode_token(cursor: Cursor[Key], digest: str) -> str:
    """Return the token for the page after `cursor`. `digest` identifies the query."""
    return urlsafe_b64encode(orjson.dumps([_VERSION, digest, *cursor])).rstrip(b"=").decode()


def decode_token(token: str, digest: str, key_type: type[Key]) -> Cursor[Key]:
    """Return the cursor in a token. `key_type` is the type of the sort key.

    Raises:
        InvalidToken: the token is damaged, from another version, or belongs to another query.
    """
    try:
        raw = urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))
        fields = orjson.loads(raw)
    except (Base64Error, ValueError) as error:
        raise InvalidToken(_BAD) from error
    match fields:
        case [version, str(made_for), int() | float() | str() as key, str(row_id), bound] if version == _VERSION:
            if made_for != digest:
                raise InvalidToken(
                    "the page token belongs to another query; "
                    "use the same filters and sort order for all pages, or request the first page"
                )
            if _is_key(key, key_type) and (bound is None or _is_key(bound, key_type)):
                return Cursor(key, row_id, bound)
    raise InvalidToken(_BAD)


def _is_key(value: object, key_type: type[Key]) -> TypeGuard[Key]:
    return isinstance(value, key_type) and (not isinstance(value, int) or value in _INT64)
