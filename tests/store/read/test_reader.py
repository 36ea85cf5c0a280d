"""Reading a store: what does not wait for what."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from app.model.facets import Facet, FacetKind
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId
from app.model.periods import Period
from tests.builders import NEW_CONVERSATION, make_conversation, make_id
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))


async def test_lists_single_conversations_and_creates_do_not_wait_for_heavy_reads(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root, 1)
    async with open_store(root) as store, AsyncExitStack() as busy:
        with suppress(TimeoutError):
            while True:
                await asyncio.wait_for(busy.enter_async_context(store.index.read(heavy=True)), 0.2)
        week = ConversationFilter(created_at_gte_us=1)
        heavy = [
            asyncio.ensure_future(one)
            for one in (
                store.count_facets([Facet(FacetKind.STATUS)]),
                store.get_sums(),
                store.list_workspace_costs(),
                store.list_usage(week, Period.DAY),
                store.count_hours(),
                store.list_activity(week, Period.DAY),
                store.count_conversations(week),
                store.search_messages("said"),
                store.list_edits(["a.py"]),
            )
        ]
        async with asyncio.timeout(10):
            assert len((await store.list_conversations(week)).items) == 1
            assert await store.get_conversation(ConversationId(make_id(1)))
            assert await store.count_conversations() == 1
            await store.create(NEW_CONVERSATION)
        assert [one.done() for one in heavy] == [False] * len(heavy)
        await busy.aclose()
        async with asyncio.timeout(10):
            await asyncio.gather(*heavy)
