"""The token of the change feed. It says which changes of an index build a reader has already seen."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import InvalidToken
from .ids import ConversationId

_match_token = re.compile(r"([0-9a-f]{16})\.([0-9]{1,18})\.([0-9a-f]{32}|all|)(?:\.([0-9]{1,18}))?", re.ASCII).fullmatch
_AFTER_ALL = "g"


class ChangeToken(NamedTuple):
    """A position in the change feed: after conversation `id` at `revision`. Changes of one revision are sorted by id.

    `begun` is the revision at which a reader started with a full list. Such a reader needs no deletions up to `begun`.
    """

    epoch: str
    revision: int
    id: str = ""
    begun: int = 0

    @property
    def token(self) -> str:
        """The token as text, which a reader sends to continue."""
        begun = f".{self.begun}" if self.begun > self.revision else ""
        return f"{self.epoch}.{self.revision}.{'all' if self.id == _AFTER_ALL else self.id}{begun}"

    def misses(self, forgotten: int) -> bool:
        """Whether the index has dropped deletions, those up to revision `forgotten`, that this reader has not seen."""
        return self.begun < forgotten and self < token_after_all(self.epoch, forgotten)


def token_after_all(epoch: str, revision: int) -> ChangeToken:
    """Return the position after all changes of a revision."""
    return ChangeToken(epoch, revision, _AFTER_ALL)


def parse_change_token(token: str) -> ChangeToken:
    """Return the position that a token encodes.

    Raises:
        InvalidToken: the text is not a token of the change feed.
    """
    match = _match_token(token)
    if match is None:
        raise InvalidToken(
            f"{token[:64]!r} is not a token of the change feed; start without `since`, or list first and use since=now"
        )
    return ChangeToken(match[1], int(match[2]), _AFTER_ALL if match[3] == "all" else match[3], int(match[4] or 0))


class ListChange(NamedTuple):
    """One change: the conversation's current ConversationInfo, or None if the conversation was deleted."""

    place: ChangeToken
    id: ConversationId
    info: bytes | None


class ChangePage(NamedTuple):
    """Changes in order, the token that continues after them, and whether more changes already exist."""

    items: list[ListChange]
    next: ChangeToken
    more: bool
