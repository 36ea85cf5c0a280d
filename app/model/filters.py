"""The filters for conversations and events, and the digest that ties a page token to its query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

from .ids import ConversationId
from .text.tokenizer import fold_title

_SEPARATORS_MAX = 16


class Status(StrEnum):
    """The execution statuses of openhands-sdk 1.58."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    WAITING_FOR_CONFIRMATION = "waiting_for_confirmation"
    FINISHED = "finished"
    ERROR = "error"
    STUCK = "stuck"
    DELETING = "deleting"


def shelf_of(*, archived: bool, subagent: bool) -> int:
    """Return the value of a conversation's `archived` column: 1 if it is archived, and 2 more if it is a sub-agent's.

    One column has both, because all indexes for lists begin with it: lists leave out either kind by default.
    """
    return archived + 2 * subagent


class Archived(StrEnum):
    """The values of the `archived` and the `subagents` parameter: without such conversations, only these, or any."""

    FALSE = "false"
    TRUE = "true"
    ANY = "any"

    @property
    def asked(self) -> bool | None:
        """The value for `ConversationFilter.archived` and `subagents`."""
        return {Archived.FALSE: False, Archived.TRUE: True}.get(self)


class LookIn(StrEnum):
    """The texts that a search looks through: titles and what was said, what tools were given and answered, or both.

    Of tools, the index has commands, paths and errors; with the setting `search_tools` also input and output.
    """

    SAID = "said"
    TOOLS = "tools"
    ALL = "all"


class Tag(NamedTuple):
    """A tag that a conversation must have. Without `value`, any value matches.

    `others` are more pairs of key and value; a conversation with any of them matches, too.
    """

    key: str
    value: str | None = None
    others: tuple[tuple[str, str | None], ...] = ()

    @property
    def pairs(self) -> tuple[tuple[str, str | None], ...]:
        """All pairs of key and value that match."""
        return ((self.key, self.value), *self.others)

    def is_one_of(self, tags: Mapping[str, str]) -> bool:
        """Return whether one of a conversation's tags matches."""
        return any(key in tags and value in (None, tags[key]) for key, value in self.pairs)


@dataclass(frozen=True, slots=True)
class ConversationFilter:
    """Conditions on conversations. None or an empty tuple means no condition. Times are microseconds UTC.

    `q` is a search text (`app.model.text.tokenizer`); a blank one matches all conversations. `look_in` says which texts
    it searches.
    `title_contains` ignores case and accents. By default, archived conversations do not match, nor those of
    sub-agents below others, except for a filter by `parent`. A conversation must have all of `tags`, and any of
    `workspaces`. `workspace_under` is a directory; directories below it match, too. `orphaned` means that the
    parent is not in the index. `event_at_gte_us` and `event_at_lt_us` together mean an event in that span; both are
    rounded down to quarters of an hour. `openable` means that agent-server can open it. `owned` means that a server
    holds the lease now. With `folded`, a child does not match if its parent matches, too, and has no parent itself.
    """

    statuses: tuple[Status, ...] = ()
    q: str | None = None
    look_in: LookIn = LookIn.SAID
    title_contains: str | None = None
    tags: tuple[Tag, ...] = ()
    workspaces: tuple[str, ...] = ()
    workspace_under: str | None = None
    model: str | None = None
    agent_kind: str | None = None
    parent: ConversationId | None = None
    top_level: bool | None = None
    orphaned: bool | None = None
    forked_from: ConversationId | None = None
    created_at_gte_us: int | None = None
    created_at_lt_us: int | None = None
    updated_at_gte_us: int | None = None
    updated_at_lt_us: int | None = None
    last_event_at_gte_us: int | None = None
    last_event_at_lt_us: int | None = None
    event_at_gte_us: int | None = None
    event_at_lt_us: int | None = None
    cost_gte: float | None = None
    cost_lt: float | None = None
    event_count_gte: int | None = None
    event_count_lt: int | None = None
    archived: bool | None = False
    subagents: bool | None = False
    unreadable: bool | None = None
    openable: bool | None = None
    pinned: bool | None = None
    owned: bool | None = None
    folded: bool = False

    @property
    def shelves(self) -> tuple[int, ...]:
        """The values of the `archived` column that match."""
        both = (False, True)
        subagents = None if self.parent is not None and self.subagents is False else self.subagents
        return tuple(
            shelf_of(archived=archived, subagent=subagent)
            for subagent in both
            for archived in both
            if self.archived in (None, archived) and subagents in (None, subagent)
        )

    @property
    def narrows(self) -> bool:
        """Whether the filter has more conditions than `archived` and `subagents`. Blank texts are no condition."""
        q, title = (None if is_blank(text) else text for text in (self.q, self.title_contains))
        rest = replace(
            self, q=q, title_contains=title, archived=False, subagents=False, folded=False, look_in=LookIn.SAID
        )
        return self.archived is True or self.subagents is True or rest != ConversationFilter()


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Conditions on the events of one conversation. None means no condition. Times are microseconds UTC.

    `kind` is a class name without its module. `body` is a part of a MessageEvent's text; case is ignored.
    """

    kind: str | None = None
    source: str | None = None
    body: str | None = None
    timestamp_gte_us: int | None = None
    timestamp_lt_us: int | None = None


def is_blank(text: str | None) -> bool:
    """Return whether a search text contains nothing to search for. None is not blank."""
    return text is not None and not fold_title(text).strip()


def parse_tag(text: str) -> Tag:
    """Return the tag in `key`, `key:value` or `key=value`.

    A key that another program wrote may contain `:` or `=`. So the text is also a key, and each of the first
    `_SEPARATORS_MAX` separators may end one.
    """
    ends = [found.start() for found in islice(re.finditer("[:=]", text), _SEPARATORS_MAX)]
    if not ends:
        return Tag(text)
    first, *more = ((text[:end], text[end + 1 :]) for end in ends)
    return Tag(*first, (*more, (text, None)))


@lru_cache(maxsize=1024)
def digest(order: str, asked: ConversationFilter | EventFilter, scope: str = "") -> str:
    """Return a short hash of a query. A page token is valid only for the query with the same hash."""
    return blake2b(repr((scope, str(order), asked)).encode(), digest_size=6).hexdigest()
