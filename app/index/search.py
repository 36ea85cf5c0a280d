"""Full-text search: finds messages that contain the words, ranks them, and makes snippets.

The text index returns the newest matches first. The newest `RANKED` of them are ranked; a page says if there were more.
If more have the last word as it is typed, its longer forms are not looked for: FTS5 took 90 ms to merge the 770,000
matches of the prefix `the`, and 1 ms to find the newest 1,000 of the word.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, select, text

from ..errors import InvalidToken
from ..model.filters import ConversationFilter, LookIn, digest
from ..model.hits import Hit, HitPage, Keep
from ..model.ids import ConversationId
from ..model.page import Cursor, SortOrder, View, decode_token, encode_token
from ..model.text.ranking import RANKED, make_score
from ..model.text.snippet import make_snippet
from ..model.text.tokenizer import Term, parse_question
from . import conversation_lookup, filter_sql, state
from .connections import ReadConnection, require_time
from .conversation_body import composer_of, select_view
from .conversation_list import Page
from .dialect import Sql, compiled, is_any_of, paired
from .filter_sql import bare, clauses
from .messages import (
    SAID_HERE,
    TITLE_SEQ,
    NewestMatches,
    count_newest,
    fetch_newest,
    hour_of,
    newest_matches,
    parameters_of,
)
from .tables import conversation, message

_NEWEST = 2**62
TITLE_SOURCE = "title"


class _Ranked(NamedTuple):
    score: int
    id: int
    conversation: int
    text: str
    is_title: bool


class _After(NamedTuple):
    """The position of a page: after this score and id, among the ids from `oldest` to `newest` of the first page.

    The limits keep new messages from displacing ranked ones between pages. Ids are valid only for one build of the
    index. `complete` says that longer forms of the last word are left out.
    """

    score: int
    id: int
    newest: int
    oldest: int
    complete: bool


_WITHIN: ColumnElement[bool] = is_any_of(conversation.c.uuid, "within")


@lru_cache(maxsize=256)
def matches_sql(names: tuple[str, ...], *, within: bool = False) -> NewestMatches:
    """Return the statements for the newest matching messages of conversations under these conditions.

    With `within`, a parameter has the ids of the only conversations to search.
    """
    return newest_matches([*clauses(names, bare), *([_WITHIN] if within else [])])


@lru_cache(maxsize=256)
def _count_sql(names: tuple[str, ...]) -> Sql:
    return count_newest(clauses(names, bare))


@cache
def _bodies_sql(view: View) -> Sql:
    chosen = is_any_of(conversation.c.id, "keys")
    return compiled(select_view(view, conversation.c.id, conversation.c.uuid).where(chosen))


_SHOWN = (
    "SELECT message.id, conversation.uuid, conversation.title, conversation_info.preview, message.seq,"
    " message.event_id, event.source,"
    " CASE WHEN message.seq = :title THEN conversation.created_at ELSE event.timestamp END, conversation.parent"
    " FROM {} AS one{} JOIN message ON message.id = one.value"
    " JOIN conversation ON conversation.id = message.conversation"
    " LEFT JOIN conversation_info ON conversation_info.conversation = message.conversation"
    " LEFT JOIN event ON event.conversation = message.conversation AND event.seq = message.seq"
    " AND event.event_id = message.event_id"
)
_DETAILS = paired(
    text(_SHOWN.format("json_each(:ids)", " CROSS")),
    text(
        _SHOWN.format(
            "(SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST(:ids AS JSON)) AS each(value))", "(value)"
        )
    ),
)


class _Ranking(NamedTuple):
    matches: list[_Ranked]
    newest: int
    oldest: int
    truncated: bool
    complete: bool = False

    def token(self, last: tuple[int, int], epoch: str, query: str) -> str:
        """Return the token of the page that begins after this score and id."""
        place = f"{last[1]}.{self.oldest}.{int(self.complete)}.{epoch}"
        return encode_token(Cursor(last[0], place, self.newest), query)


async def search_messages(
    index: ReadConnection,
    asked: ConversationFilter,
    page_id: str | None,
    limit: int,
    *,
    within: ConversationId | None = None,
    keep: Keep | None = None,
    most: int | None = None,
) -> HitPage:
    """Return a page of the messages that match `asked.q` in the conversations that match the filter.

    With `within`, search only this conversation and ignore the other conditions. With `keep`, the page ends after as
    many of the `limit` hits as it returns. `most` is the maximum number of matches that are ranked, `RANKED` if None.

    Raises:
        InvalidToken: `page_id` is damaged, or belongs to another query or another build of the index.
        QueryTooSlow: the time limit of the connection was reached.
    """
    most = most or RANKED
    query = digest("", asked, f"messages {within or ''} {'' if most == RANKED else most}".rstrip())
    epoch = (await state.get_revision(index)).epoch
    after = None if page_id is None else _after(page_id, epoch, query)
    totals = await conversation_lookup.count_totals(index)
    ranking = await _rank_matches(index, asked, after, within=None if within is None else [within], most=most)
    ranked = [one for one in ranking.matches if after is None or (one.score, one.id) < (after.score, after.id)]
    shown = ranked[:limit]
    hits = await _show(index, shown, parse_question(asked.q or "").terms)
    known = totals.conversations - totals.behind
    page = HitPage(hits, None, ranking.truncated, indexed=known, conversations=totals.conversations)
    if keep is not None:
        shown = shown[: keep(page)]
    next_page_id = None
    if len(ranked) > len(shown):
        next_page_id = ranking.token((shown[-1].score, shown[-1].id), epoch, query)
    return page._replace(items=hits[: len(shown)], next_page_id=next_page_id)


async def find_in_log(
    index: ReadConnection,
    uuid: ConversationId,
    asked: ConversationFilter,
    page_id: str | None,
    limit: int,
    *,
    keep: Keep | None = None,
) -> HitPage:
    """Return a page of the messages of a conversation that match, in the order of its log, and their total number.

    Only `q` and `look_in` of the filter count. `keep` is as for `search_messages`.

    Raises:
        InvalidToken: `page_id` is damaged, or belongs to another query.
        QueryTooSlow: the time limit of the connection was reached.
    """
    question = parse_question(asked.q or "")
    query = digest("seq", asked, f"messages {uuid}")
    after = None if page_id is None else decode_token(page_id, query, int)
    totals = await conversation_lookup.count_totals(index)
    wanted = {**parameters_of(question, asked.look_in), "uuid": uuid}
    found = [] if question.match is None else await index.fetch_all(SAID_HERE, wanted)
    rest = [row for row in found if after is None or (row[1], row[2]) > (after.key, after.id)]
    shown = rest[:limit]
    texts = await index.fetch_all(_texts_sql(), {"ids": orjson.dumps([row[0] for row in shown]).decode()})
    newest = shown[-1][0] if shown else 0
    ranked = await asyncio.to_thread(_rank, texts, question.terms, asked.look_in, newest, index.deadline)
    place = {row[0]: number for number, row in enumerate(shown)}
    hits = await _show(index, sorted(ranked, key=lambda one: place[one.id]), question.terms)
    known = totals.conversations - totals.behind
    page = HitPage(hits, None, truncated=False, indexed=known, conversations=totals.conversations, total=len(found))
    if keep is not None:
        shown = shown[: keep(page)]
    next_page_id = encode_token(Cursor(shown[-1][1], shown[-1][2]), query) if len(rest) > len(shown) else None
    return page._replace(items=hits[: len(shown)], next_page_id=next_page_id)


@cache
def _texts_sql() -> Sql:
    columns = message.c
    shown = (columns.id, columns.conversation, columns.seq, columns.text, columns.tool_text)
    return compiled(select(*shown).where(is_any_of(columns.id, "ids")))


async def list_best_hits(
    index: ReadConnection, asked: ConversationFilter, ids: Sequence[ConversationId], number: int
) -> dict[ConversationId, list[Hit]]:
    """Return the best `number` matching messages of each of these conversations. Titles are not included.

    Only `q` and `look_in` of the filter count.

    Raises:
        QueryTooSlow: the time limit of the connection was reached.
    """
    ranking = await _rank_matches(index, asked, None, within=ids)
    taken: defaultdict[int, list[_Ranked]] = defaultdict(list)
    for one in ranking.matches:
        if not one.is_title and len(taken[one.conversation]) < number:
            taken[one.conversation].append(one)
    shown = [one for some in taken.values() for one in some]
    best: dict[ConversationId, list[Hit]] = {one: [] for one in ids}
    for hit in await _show(index, shown, parse_question(asked.q or "").terms):
        best[hit.conversation_id].append(hit)
    return best


async def count_matches(index: ReadConnection, asked: ConversationFilter) -> int:
    """Return the number of messages and titles that match, but at most `RANKED` + 1.

    Raises:
        QueryTooSlow: the time limit of the connection was reached.
    """
    question = parse_question(asked.q or "")
    if question.match is None:
        return 0
    names, parameters = filter_sql.compile_filter(replace(asked, q=None))
    parameters |= {**parameters_of(question, asked.look_in), "most": RANKED + 1}
    [[number]] = await index.fetch_all(_count_sql(names), parameters)
    return int(number)


async def rank_conversations(
    index: ReadConnection, asked: ConversationFilter, page_id: str | None, limit: int, view: View = View.FULL
) -> Page:
    """Return a page of conversations, sorted by the score of each conversation's best message for `asked.q`.

    Raises:
        InvalidToken: `page_id` is damaged, or belongs to another query or another build of the index.
        QueryTooSlow: the time limit of the connection was reached.
    """
    query = digest(SortOrder.RELEVANCE, asked)
    epoch = (await state.get_revision(index)).epoch
    after = None if page_id is None else _after(page_id, epoch, query)
    ranking = await _rank_matches(index, asked, after)
    best: dict[int, int] = {}
    for one in ranking.matches:
        best.setdefault(one.conversation, one.score)
    ranked = [(score, key) for key, score in best.items() if after is None or (score, key) < (after.score, after.id)]
    ranked.sort(reverse=True)
    shown = ranked[:limit]
    keys = orjson.dumps([key for _, key in shown]).decode()
    found = {row[0]: row[1:] for row in await index.fetch_all(_bodies_sql(view), {"keys": keys})}
    next_page_id = None
    if len(ranked) > limit:
        next_page_id = ranking.token(shown[-1], epoch, query)
    rows = [found[key] for _, key in shown if key in found]
    ids = [ConversationId(row[0]) for row in rows]
    compose = composer_of(view)
    return Page([compose(*row[1:]) for row in rows], next_page_id, ranking.truncated, ids)


async def _rank_matches(
    index: ReadConnection,
    asked: ConversationFilter,
    after: _After | None,
    within: Sequence[ConversationId] | None = None,
    most: int | None = None,
) -> _Ranking:
    """Return the newest `most` matches, best first; with `within`, only those in these conversations."""
    most = most or RANKED
    question = parse_question(asked.q or "")
    if question.match is None:
        return _Ranking([], 0, 0, truncated=False)
    others = replace(asked, q=None) if within is None else ConversationFilter(archived=None, subagents=None)
    names, parameters = filter_sql.compile_filter(others)
    if within is not None:
        parameters["within"] = orjson.dumps(within).decode()
    newest, oldest, up_to = (after.newest, after.oldest, 2 * most) if after else (_NEWEST, 0, most + 1)
    parameters |= {"newest": newest, "oldest": oldest, "most": up_to}
    complete = after is not None and after.complete
    if after is None and within is None and question.completed is not None:
        counted = {**parameters, **parameters_of(question.completed, asked.look_in)}
        [[number]] = await index.fetch_all(_count_sql(names), counted)
        complete = number > most
    wanted = question.completed if complete and question.completed is not None else question
    parameters |= parameters_of(wanted, asked.look_in)
    rows = await fetch_newest(index, matches_sql(names, within=within is not None), parameters)
    if after is None:
        newest = rows[0][0] if rows else 0
        oldest = rows[most - 1][0] if len(rows) > most else 0
        rows = rows[:most]
    ranked = await asyncio.to_thread(_rank, rows, question.terms, asked.look_in, newest, index.deadline)
    return _Ranking(ranked, newest, oldest, truncated=oldest > 0, complete=complete)


def _after(page_id: str, epoch: str, query: str) -> _After:
    cursor = decode_token(page_id, query, int)
    match cursor.id.split("."):
        case [last, oldest, ("0" | "1") as complete, made_in] if (
            last.isdecimal() and oldest.isdecimal() and cursor.bound is not None
        ):
            if made_in != epoch:
                raise InvalidToken(
                    "the index was rebuilt since this page token was issued; "
                    "request the first page again, without page_id"
                )
            return _After(cursor.key, int(last), cursor.bound, int(oldest), complete == "1")
    raise InvalidToken("the page token is damaged; request the first page again, without page_id")


def _rank(
    rows: Sequence[tuple[Any, ...]], terms: Sequence[Term], look_in: LookIn, newest: int, deadline: float
) -> list[_Ranked]:
    """Rank matches by the texts that are looked through. What was said counts twice as much as what a tool did."""
    hour = hour_of(newest)
    score = make_score(terms)
    ranked = []
    for key, conversation_key, seq, said, done in rows:
        require_time(deadline)
        age_h = hour - hour_of(key)
        is_title = seq == TITLE_SEQ
        fit = 0 if look_in is LookIn.TOOLS else score(said, is_title, age_h)
        fit_of_tools = 0 if look_in is LookIn.SAID else score(done, is_title, age_h) // 2
        shown = [text_ for text_, its in ((said, fit), (done, fit_of_tools)) if text_ and its] or [said or done]
        ranked.append((fit + fit_of_tools, key, conversation_key, "\n".join(shown), is_title))
    ranked.sort(reverse=True)
    return list(map(_Ranked._make, ranked))


def _make_snippets(ranked: Sequence[_Ranked], terms: Sequence[Term], deadline: float) -> list[str]:
    snippets = []
    for one in ranked:
        require_time(deadline)
        snippets.append(make_snippet(one.text, terms))
    return snippets


async def _show(index: ReadConnection, ranked: Sequence[_Ranked], terms: Sequence[Term]) -> list[Hit]:
    ids = orjson.dumps([one.id for one in ranked]).decode()
    details = {row[0]: row[1:] for row in await index.fetch_all(_DETAILS, {"ids": ids, "title": TITLE_SEQ})}
    snippets = await asyncio.to_thread(_make_snippets, ranked, terms, index.deadline)
    hits = []
    for one, snippet in zip(ranked, snippets, strict=True):
        if one.id in details:
            uuid, title, preview, seq, event_id, source, time_us, parent = details[one.id]
            is_title = seq == TITLE_SEQ
            hits.append(
                Hit(
                    conversation_id=uuid,
                    title=title,
                    preview=preview,
                    parent=parent,
                    event_id=None if is_title else event_id,
                    seq=None if is_title else seq,
                    source=TITLE_SOURCE if is_title else source or "",
                    time_us=time_us,
                    score=one.score / 1e6,
                    snippet=snippet,
                )
            )
    return hits
