"""Rows are derived by this program's version and the settings that decide what rows say."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from app import ConversationStore, Settings
from app.index import state
from app.model.ids import ConversationId
from tests.builders import (
    index_path,
    index_tables,
    make_conversation,
    make_event,
    make_id,
)
from tests.conftest import StoreOpener
from tests.store.helpers import listed


async def test_another_time_zone_has_everything_derived_anew(root: Path) -> None:
    make_conversation(root, events=[make_event(0, timestamp="2026-10-01T12:00:00")])
    seen = []
    for zone in ("UTC", "Asia/Tokyo"):
        async with ConversationStore.open(Settings(store=root, timezone=zone)) as store:
            report = await store.sync()
            last_event_at = (await listed(store))[make_id(1)]["last_event_at"]
        [event] = index_tables(index_path(root))["event"]
        seen.append((report.opened, report.logs, last_event_at, event[5]))
    noon_us = 1_790_856_000_000_000
    assert seen == [
        (1, 1, "2026-10-01T12:00:00Z", noon_us),
        (1, 1, "2026-10-01T03:00:00Z", noon_us - 9 * 3_600_000_000),
    ]


async def test_the_first_sync_keeps_rows_that_a_request_wrote_before_it(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, events=2)
    make_conversation(root, 2, events=1)
    async with open_store(root, synced=False) as store:
        await store.list_events(ConversationId(make_id(1)))
        before = index_tables(index_path(root))["event"]
        report = await store.sync()
        after = index_tables(index_path(root))["event"]
    assert (report.opened, report.logs) == (1, 1)
    assert (len(before), after[:2]) == (2, before)


async def test_rows_of_an_unknown_derivation_are_read_again(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, events=2)
    async with open_store(root) as store:
        await store.index.write(partial(state.set_state, derived_by=None))
        await store.get_conversation(ConversationId(make_id(1)))
        assert (await store.sync()).opened == 1
