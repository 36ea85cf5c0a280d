"""Retention: finds conversations that are old enough, and moves them into the trash."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from ...errors import ConversationNotFound, ConversationOwned, LockTimeout, StoreError
from ...model.filters import ConversationFilter, Tag
from ...model.ids import ConversationId, parse_conversation_id
from ...model.page import SortOrder
from ..follow.full_sync import OnProgress, ignore_progress
from ..read.index_reader import PAGE_MAX
from ..read.reader import StoreReader
from ..store import ConversationStore


class Candidate(NamedTuple):
    """A conversation to delete, with its state when it was found."""

    id: ConversationId
    title: str | None
    preview: str | None
    status: str
    updated_at: str
    last_event_at: str


class Pruned(NamedTuple):
    """The result for a candidate. `error` says why it was kept.

    `failed` is false if another owner has the conversation, or if it changed or was deleted. `warning` says that the
    conversation is in the trash but still listed.
    """

    candidate: Candidate
    error: str | None
    failed: bool = False
    warning: str | None = None


def quiet_since(asked: ConversationFilter, before_us: int) -> ConversationFilter:
    """Return a filter that also requires creation and last event before a time in microseconds UTC.

    `updated_at` does not count, because a new title or tag sets it. The creation counts, because a new fork may have
    only old events.
    """
    return replace(
        asked,
        created_at_lt_us=_earlier(asked.created_at_lt_us, before_us),
        last_event_at_lt_us=_earlier(asked.last_event_at_lt_us, before_us),
    )


def _earlier(asked_us: int | None, before_us: int) -> int:
    return before_us if asked_us is None else min(asked_us, before_us)


async def find_candidates(
    store: StoreReader, asked: ConversationFilter, keep_tags: Collection[Tag] = ()
) -> list[Candidate]:
    """Return the matching conversations by last event, oldest first, except pinned ones and ones with these tags."""
    found: list[Candidate] = []
    token = None
    while True:
        page = await store.list_conversations(asked, order=SortOrder.LAST_EVENT_AT, page_id=token, limit=PAGE_MAX)
        infos = map(orjson.loads, page.items)
        found += [_candidate(info) for info in infos if not _is_kept(info, keep_tags)]
        token = page.next_page_id
        if token is None:
            return found


def _is_kept(info: Mapping[str, Any], keep_tags: Collection[Tag]) -> bool:
    tags: Mapping[str, str] = info["tags"] or {}
    return info["pinned"] or any(tag.is_one_of(tags) for tag in keep_tags)


def _candidate(info: Mapping[str, Any]) -> Candidate:
    return Candidate(
        parse_conversation_id(info["id"]),
        info["title"],
        info["preview"],
        str(info["execution_status"]),
        str(info["updated_at"]),
        str(info["last_event_at"]),
    )


async def prune(
    store: ConversationStore, candidates: Sequence[Candidate], on_progress: OnProgress = ignore_progress
) -> list[Pruned]:
    """Move conversations into the trash.

    A conversation that has changed since it was found, or has an owner, is kept.
    """
    results = []
    for number, candidate in enumerate(candidates, 1):
        error, failed, warning = None, False, None
        try:
            info = orjson.loads(await store.get_conversation(candidate.id))
            if info["pinned"] or _candidate(info) != candidate:
                error = "it has changed since it was found"
            else:
                warning = (await store.delete(candidate.id)).warning
        except ConversationNotFound:
            error = "it was already deleted"
        except StoreError as refused:
            error, failed = str(refused), not isinstance(refused, ConversationOwned | LockTimeout)
        results.append(Pruned(candidate, error, failed, warning))
        on_progress("moved into the trash", number, len(candidates))
    return results
