"""The filters that list and count share, and their digest for page tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from app.model.ids import ConversationId
from app.model.text.tokenizer import fold_title


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


class Archived(StrEnum):
    """Which conversations as to the archive, as users say it."""

    FALSE = "false"
    TRUE = "true"
    ANY = "any"

    @property
    def asked(self) -> bool | None:
        """As the filter has it."""
        return {Archived.FALSE: False, Archived.TRUE: True}.get(self)


class Tag(NamedTuple):
    """A tag to have; without a value: with any value."""

    key: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class ConversationFilter:
    """Which conversations; None, or an empty tuple, means any. Times are microseconds UTC.

    `q` is what a user looks for in titles and messages (`app.model.text.tokenizer`); a blank one admits all.
    `title_contains` knows no case and no accents. `archived` ones are left out unless asked for; of `tags` all must be
    there; `owned` ones are held by a server at this moment.
    """

    statuses: tuple[Status, ...] = ()
    q: str | None = None
    title_contains: str | None = None
    tags: tuple[Tag, ...] = ()
    workspace: str | None = None
    model: str | None = None
    agent_kind: str | None = None
    parent: ConversationId | None = None
    top_level: bool | None = None
    forked_from: ConversationId | None = None
    created_at_gte_us: int | None = None
    created_at_lt_us: int | None = None
    updated_at_gte_us: int | None = None
    updated_at_lt_us: int | None = None
    last_event_at_gte_us: int | None = None
    last_event_at_lt_us: int | None = None
    cost_gte: float | None = None
    cost_lt: float | None = None
    event_count_gte: int | None = None
    event_count_lt: int | None = None
    archived: bool | None = False
    unreadable: bool | None = None
    owned: bool | None = None

    @property
    def narrows(self) -> bool:
        """Whether it leaves conversations out, apart from archived ones. Blank texts leave none out."""
        q, title = (None if is_blank(text) else text for text in (self.q, self.title_contains))
        rest = replace(self, q=q, title_contains=title, archived=False)
        return self.archived is True or rest != ConversationFilter()


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events of one conversation; None means any. Times are microseconds UTC.

    `kind` is a bare class name; `body` is a case-insensitive part of a MessageEvent's text.
    """

    kind: str | None = None
    source: str | None = None
    body: str | None = None
    timestamp_gte_us: int | None = None
    timestamp_lt_us: int | None = None


def is_blank(text: str | None) -> bool:
    """Return whether a text to look for, in titles or in what was said, holds nothing to find. None is not blank."""
    return text is not None and not fold_title(text).strip()


def parse_tag(text: str) -> Tag:
    """Return the tag that `key`, `key:value` or `key=value` asks for."""
    key, *value = re.split("[:=]", text, maxsplit=1)
    return Tag(key, *value)


@lru_cache(maxsize=1024)
def digest(order: str, asked: ConversationFilter | EventFilter, scope: str = "") -> str:
    """Return a short fingerprint of a query; a page token is good for the query with its fingerprint alone."""
    return blake2b(repr((scope, str(order), asked)).encode(), digest_size=6).hexdigest()
