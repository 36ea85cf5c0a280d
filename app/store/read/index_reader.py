"""IndexReader: lists, searches and counts of conversations. The index alone answers them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from datetime import UTC, tzinfo
from functools import partial
from math import inf
from typing import Any

import orjson

from ...index import activity, conversation_list, conversation_lookup, facet_counts, search
from ...index.activity import HourCount
from ...index.connections import ReadConnection
from ...index.conversation_list import Family, Page
from ...index.facet_counts import Sums, WorkspaceCost
from ...index.file_edits import Edit, list_edits
from ...model.costs import Point, sum_periods
from ...model.facets import Facet, Facets
from ...model.filters import ConversationFilter, LookIn
from ...model.hits import Hit, HitPage, Keep, list_searched
from ...model.ids import ConversationId
from ...model.page import SortOrder, View
from ...model.periods import LAST_QUARTER, QUARTER_US, ActivityPoint, Period, find_spans
from ...settings import Settings
from ..context import StoreContext
from .lookup import add_skills
from .walk import walk_pages

PAGE_MAX = 100
_HOUR_US = 3_600_000_000
_LAST_HOUR = LAST_QUARTER // 4

_ANY = ConversationFilter()
_ALL = ConversationFilter(archived=None, subagents=None)


class IndexReader:
    """What the index knows of many conversations. Only `include_skills` opens files."""

    def __init__(self, settings: Settings, context: StoreContext) -> None:
        self.settings = settings
        self.context = context
        self.index = context.index

    async def list_conversations(
        self,
        asked: ConversationFilter = _ANY,
        *,
        order: SortOrder = SortOrder.CREATED_AT_DESC,
        page_id: str | None = None,
        limit: int = PAGE_MAX,
        include_skills: bool = False,
        view: View = View.FULL,
    ) -> Page:
        """Return a page of conversations, each as JSON: as ConversationInfo or, by `view`, as a short row.

        With `include_skills`, the files of the page's items are opened; a short row has no skills.

        Raises:
            InvalidToken: `page_id` is damaged or belongs to another query.
            QueryTooSlow: the search for `asked.q` took longer than the settings allow.
        """
        if order is SortOrder.RELEVANCE and asked.q and asked.q.strip():
            async with self._read_for(asked) as connection, connection.snapshot():
                page = await search.rank_conversations(connection, asked, page_id, limit, view)
        else:
            order = SortOrder.UPDATED_AT_DESC if order is SortOrder.RELEVANCE else order
            if asked.q:
                async with self._read_for(asked) as connection:
                    page = await conversation_list.list_conversations(connection, asked, order, page_id, limit, view)
            else:
                here = self.index.read_here(whole=True)
                page = await conversation_list.list_conversations(here, asked, order, page_id, limit, view)
        if include_skills and view is View.FULL:
            bodies = [await add_skills(self.context, body) for body in page.items]
            return page._replace(items=bodies)
        return page

    async def walk_conversations(
        self,
        asked: ConversationFilter = _ANY,
        *,
        order: SortOrder = SortOrder.CREATED_AT_DESC,
        view: View = View.FULL,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield all conversations that match, as dictionaries. The pages are read as they are needed.

        Raises:
            QueryTooSlow: as for `list_conversations`.
        """
        async for body in walk_pages(partial(self.list_conversations, asked, order=order, view=view)):
            yield orjson.loads(body)

    def _read_for(
        self, asked: ConversationFilter, *, heavy: bool = False
    ) -> AbstractAsyncContextManager[ReadConnection]:
        """Return a connection for a filter. A full-text search has a time limit."""
        within_s = self.settings.search_timeout_s if asked.q else inf
        return self.index.read(heavy=heavy, within_s=within_s, whole=True)

    async def search_messages(
        self,
        text: str,
        asked: ConversationFilter = _ANY,
        *,
        page_id: str | None = None,
        limit: int = PAGE_MAX,
        keep: Keep | None = None,
        most: int | None = None,
    ) -> HitPage:
        """Return a page of matching messages and titles with snippets, best first.

        `text` is a user's query: words, "phrases", -excluded words, OR. The last word may be incomplete. `asked`
        selects the conversations. With `keep`, the page ends after as many of the `limit` hits as it returns. `most` is
        the maximum number of matches that are ranked, 5,000 if it is None.

        Raises:
            InvalidToken: `page_id` is damaged or belongs to another query.
            QueryTooSlow: the search took longer than the settings allow.
        """
        read = self.index.read(within_s=self.settings.search_timeout_s, whole=True)
        async with read as connection, connection.snapshot():
            question = replace(asked, q=text)
            page = await search.search_messages(connection, question, page_id, limit, keep=keep, most=most)
        return page._replace(searched=list_searched(asked.look_in, titles=True, outputs=self.context.reader.tools))

    async def walk_messages(self, text: str, asked: ConversationFilter = _ANY) -> AsyncGenerator[Hit, None]:
        """Yield all matching messages and titles, best first. The pages are read as they are needed.

        Raises:
            QueryTooSlow: as for `search_messages`.
        """
        async for hit in walk_pages(partial(self.search_messages, text, asked)):
            yield hit

    async def list_best_hits(
        self, text: str, ids: Sequence[ConversationId], number: int, *, look_in: LookIn = LookIn.SAID
    ) -> dict[ConversationId, list[Hit]]:
        """Return the best `number` matching messages of each conversation.

        Raises:
            QueryTooSlow: the search took longer than the settings allow.
        """
        read = self.index.read(within_s=self.settings.search_timeout_s, whole=True)
        async with read as connection, connection.snapshot():
            return await search.list_best_hits(connection, ConversationFilter(q=text, look_in=look_in), ids, number)

    async def count_matches(self, asked: ConversationFilter) -> int:
        """Return the number of messages and titles that match `asked.q`, but at most `RANKED` + 1.

        Raises:
            QueryTooSlow: the search took longer than the settings allow.
        """
        async with self._read_for(asked) as connection:
            return await search.count_matches(connection, asked)

    async def list_families(self, ids: Sequence[ConversationId]) -> dict[ConversationId, Family]:
        """Return the children of each conversation that has any."""
        async with self.index.read(whole=True) as connection:
            return await conversation_list.list_families(connection, ids)

    async def list_edits(
        self, paths: Sequence[str], limit: int = PAGE_MAX, asked: ConversationFilter = _ALL
    ) -> list[Edit]:
        """Return the events that changed a file that is called by one of these paths, the latest first.

        `asked` selects the conversations; by default all, also archived ones.
        """
        async with self.index.read(heavy=True, whole=True) as connection:
            return await list_edits(connection, paths, limit, asked)

    async def count_text(self) -> tuple[int, int]:
        """Return (conversations with indexed text, all conversations)."""
        async with self.index.read() as connection:
            totals = await conversation_lookup.count_totals(connection)
        return totals.conversations - totals.behind, totals.conversations

    async def count_conversations(self, asked: ConversationFilter = _ANY) -> int:
        """Return the number of conversations that match.

        Raises:
            QueryTooSlow: the search for `asked.q` took longer than the settings allow.
        """
        async with self._read_for(asked, heavy=asked != _ANY) as connection:
            return await conversation_list.count_conversations(connection, asked)

    async def count_facets(
        self, by: Sequence[Facet], asked: ConversationFilter = _ANY, *, limit: int = 20, amounts: bool = False
    ) -> Facets:
        """Count the matching conversations by the `limit` most frequent values of each facet, in one snapshot.

        With `amounts`, also sum up the cost and tokens of each value.

        Raises:
            QueryTooSlow: the search for `asked.q` took longer than the settings allow.
        """
        async with self._read_for(asked, heavy=True) as connection, AsyncExitStack() as stack:
            if amounts:  # without them, one statement counts all
                await stack.enter_async_context(connection.snapshot())
            return await facet_counts.count_facets(connection, asked, by, limit, amounts=amounts)

    async def get_sums(self, asked: ConversationFilter = _ANY) -> Sums:
        """Return number, cost and tokens of the conversations that match."""
        async with self._read_for(asked, heavy=True) as connection:
            return await facet_counts.read_sums(connection, asked)

    async def list_workspace_costs(self, asked: ConversationFilter = _ANY) -> list[WorkspaceCost]:
        """Return the costliest workspaces of the conversations that match."""
        async with self._read_for(asked, heavy=True) as connection:
            return await facet_counts.list_workspace_costs(connection, asked)

    async def list_usage(
        self,
        asked: ConversationFilter,
        period: Period,
        *,
        split: str | None = None,
        since_us: int = 0,
        until_us: int | None = None,
        zone: tzinfo = UTC,
    ) -> list[Point]:
        """Return cost and tokens of the matching conversations by period, by the time of each model call.

        `split` is `model`, `workspace`, `status` or None. `since_us` and `until_us` are rounded down to hours.
        """
        end = _LAST_HOUR if until_us is None else until_us // _HOUR_US
        async with self._read_for(asked, heavy=True) as connection:
            rows = await facet_counts.list_usage(connection, asked, split, since_us // _HOUR_US)
        return sum_periods([row for row in rows if row[0] < end], period, zone)

    async def list_activity(
        self,
        asked: ConversationFilter,
        period: Period,
        *,
        split: str | None = None,
        since_us: int = 0,
        until_us: int | None = None,
        zone: tzinfo = UTC,
    ) -> list[ActivityPoint]:
        """Return how many events were in a period, and in how many of the matching conversations. The earliest first.

        `split` is `model`, `workspace`, `status` or None. `since_us` and `until_us` are rounded down to quarters of an
        hour. Periods without an event are left out.
        """
        first = max(since_us // QUARTER_US, 0)
        end = min(LAST_QUARTER if until_us is None else until_us // QUARTER_US, LAST_QUARTER)
        async with self._read_for(asked, heavy=True) as connection, connection.snapshot():
            spans = find_spans(await activity.list_quarters(connection, first, end), period, zone)
            ends = [(span.first, span.last) for span in spans]
            counted = await activity.count_spans(connection, asked, ends, split)
        points = [ActivityPoint(spans[one.place].begin, *one[1:]) for one in counted]
        return sorted(points, key=lambda point: (point.begin, -point.events, point.split))

    async def count_hours(
        self, asked: ConversationFilter = _ANY, *, since_us: int = 0, offset_min: int = 0
    ) -> list[HourCount]:
        """Return the numbers of events in the matching conversations, by weekday and hour.

        `since_us` and `offset_min`, the minutes by which the zone is ahead of UTC, are rounded down to quarters of an
        hour.
        """
        async with self._read_for(asked, heavy=True) as connection:
            return await activity.count_hours(connection, asked, max(since_us // QUARTER_US, 0), offset_min // 15)
