"""Searching through what was said: which messages hold the words, which of them fit best, and where in the text.

FTS5 gives the newest matches first, and of these the newest `RANKED` are ranked; a page says when there were more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from app.errors import InvalidToken
from app.index import conversations
from app.index.engine import ReadConnection
from app.index.messages import HOUR_BITS, TITLE_SEQ
from app.index.statements import Sql
from app.model.filters import digest
from app.model.hits import Hit, HitPage
from app.model.page import Cursor, decode_token, encode_token
from app.model.ranking import score
from app.model.snippet import make_snippet
from app.model.text import Question, parse_question

RANKED = 5000
"""How many matches are ranked."""

_NEWEST = 2**62
TITLE_SOURCE = "title"


class _Ranked(NamedTuple):
    score: int
    id: int
    text: str


class _After(NamedTuple):
    """Where a page begins: after this score and id, among the messages up to the newest that the first page saw."""

    score: int
    id: int
    newest: int


@lru_cache(maxsize=256)
def matches_sql() -> Sql:
    """Return the statement that gives the newest messages that match."""
    return Sql(
        "SELECT message.id, message.seq, message.text FROM message_fts"
        " CROSS JOIN message ON message.id = message_fts.rowid"
        " WHERE message_fts MATCH :match AND message_fts.rowid <= :newest"
        " ORDER BY message_fts.rowid DESC LIMIT :most",
        {},
    )


_DETAILS = Sql(
    "SELECT message.id, conversation.uuid, conversation.title, message.seq, message.event_id, event.source,"
    " iif(message.seq = :title, conversation.created_at, event.timestamp)"
    " FROM json_each(:ids) AS one CROSS JOIN message ON message.id = one.value"
    " JOIN conversation ON conversation.id = message.conversation"
    " LEFT JOIN event ON event.conversation = message.conversation AND event.seq = message.seq"
    " AND event.event_id = message.event_id",
    {"title": TITLE_SEQ},
)


async def search_messages(
    index: ReadConnection, text: str, page_id: str | None, limit: int, within_s: float
) -> HitPage:
    """Return a page of the messages that hold what is asked for, the best first; see `app.model.text` for the text.

    Raises:
        InvalidToken: `page_id` is damaged, or was given out for another query.
        QueryTooSlow: it takes longer than `within_s`.
    """
    deadline = time.monotonic() + within_s
    question = parse_question(text)
    query = digest("", text, "messages")
    after = None if page_id is None else _after(page_id, query)
    totals = await conversations.count_totals(index)
    known = totals.conversations - totals.behind, totals.conversations
    if question.match is None:
        return HitPage([], None, False, *known)
    asked = {"match": question.match, "newest": after.newest if after else _NEWEST, "most": RANKED + 1}
    rows = await index.fetch_all(matches_sql(), asked, deadline=deadline)
    newest = after.newest if after else rows[0][0] if rows else 0
    ranked = await asyncio.to_thread(_rank, rows[:RANKED], question, newest)
    if after is not None:
        ranked = [one for one in ranked if one[:2] < after[:2]]
    shown = ranked[:limit]
    next_page_id = None
    if len(ranked) > limit:
        next_page_id = encode_token(Cursor(shown[-1].score, str(shown[-1].id), newest), query)
    return HitPage(await _show(index, shown, question), next_page_id, len(rows) > RANKED, *known)


def _after(page_id: str, query: str) -> _After:
    cursor = decode_token(page_id, query, int)
    if not cursor.id.isdecimal() or cursor.bound is None:
        raise InvalidToken("the page token is damaged; ask for the first page again, without page_id")
    return _After(cursor.key, int(cursor.id), cursor.bound)


def _rank(rows: Sequence[tuple[Any, ...]], question: Question, newest: int) -> list[_Ranked]:
    terms = question.terms
    hour = newest >> HOUR_BITS
    ranked = [
        _Ranked(score(text, terms, is_title=seq == TITLE_SEQ, age_h=hour - (key >> HOUR_BITS)), key, text)
        for key, seq, text in rows
    ]
    ranked.sort(reverse=True)
    return ranked


async def _show(index: ReadConnection, ranked: Sequence[_Ranked], question: Question) -> list[Hit]:
    ids = orjson.dumps([one.id for one in ranked]).decode()
    details = {row[0]: row[1:] for row in await index.fetch_all(_DETAILS, {"ids": ids})}
    snippets = await asyncio.to_thread(lambda: [make_snippet(one.text, question.terms) for one in ranked])
    hits = []
    for one, snippet in zip(ranked, snippets, strict=True):
        if one.id in details:
            uuid, title, seq, event_id, source, time_us = details[one.id]
            is_title = seq == TITLE_SEQ
            hits.append(
                Hit(
                    conversation_id=uuid,
                    title=title,
                    event_id=None if is_title else event_id,
                    seq=None if is_title else seq,
                    source=TITLE_SOURCE if is_title else source or "",
                    time_us=time_us,
                    score=one.score / 1e6,
                    snippet=snippet,
                )
            )
    return hits
