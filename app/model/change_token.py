"""The token of the change feed: how far a reader has seen the changes of one build of an index."""

from __future__ import annotations

import re
from typing import NamedTuple

from app.errors import InvalidToken
from app.model.ids import ConversationId

_match_token = re.compile(r"([0-9a-f]{16})\.([0-9]{1,18})\.([0-9a-f]{32}|all|)(?:\.([0-9]{1,18}))?", re.ASCII).fullmatch
_AFTER_ALL = "g"


class ChangeToken(NamedTuple):
    """A place among the changes: after the conversation `id` of a revision. Ids of one revision come in their order.

    A reader that began with everything has `begun` at a revision, and misses no deletion up to that one.
    """

    epoch: str
    revision: int
    id: str = ""
    begun: int = 0

    @property
    def token(self) -> str:
        """The text that a reader gives back."""
        begun = f".{self.begun}" if self.begun > self.revision else ""
        return f"{self.epoch}.{self.revision}.{'all' if self.id == _AFTER_ALL else self.id}{begun}"

    def misses(self, forgotten: int) -> bool:
        """Whether a reader here would miss a deletion, when those up to the revision `forgotten` are not kept."""
        return self.begun < forgotten and self < token_after_all(self.epoch, forgotten)


def token_after_all(epoch: str, revision: int) -> ChangeToken:
    """Return the place after everything of a revision."""
    return ChangeToken(epoch, revision, _AFTER_ALL)


def parse_change_token(token: str) -> ChangeToken:
    """Return the place that a token names.

    Raises:
        InvalidToken: it is no token of this feed.
    """
    match = _match_token(token)
    if match is None:
        raise InvalidToken(
            f"{token[:64]!r} is no token of the change feed; begin without `since`, or with since=now after listing"
        )
    return ChangeToken(match[1], int(match[2]), _AFTER_ALL if match[3] == "all" else match[3], int(match[4] or 0))


class ListChange(NamedTuple):
    """One change: the conversation's ConversationInfo as it is now, or None if it was deleted."""

    place: ChangeToken
    id: ConversationId
    info: bytes | None


class ChangePage(NamedTuple):
    """Some changes in order, the token after them, and whether more changes are there already."""

    items: list[ListChange]
    next: ChangeToken
    more: bool
