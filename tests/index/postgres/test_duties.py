"""A duty has one holder; it is free when its holder ends."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from app import Settings
from app.errors import IndexUnusable
from app.index import conversation_rows, opening

pytestmark = [pytest.mark.long, pytest.mark.postgres]


async def test_a_duty_has_one_holder_and_is_free_after_it(settings: Settings) -> None:
    one, other = (opening.make_index(settings, readers=1) for _ in range(2))
    await one.make_ready(5)
    await other.make_ready(5)
    try:
        held = one.try_lock("duty")
        assert held is not None
        assert (one.holds_lock("duty"), one.try_lock("duty"), other.try_lock("duty")) == (True, None, None)
        held.release()
        assert other.try_lock("duty") is not None
        await other.close()  # what a killed process leaves is its connection's end
        assert one.try_lock("duty") is not None
    finally:
        await one.close()


async def test_a_closed_index_makes_no_connection_until_it_is_opened_again(
    settings: Settings, postgres_url: str
) -> None:
    index = opening.make_index(settings, readers=1)

    def count_sessions() -> int:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend'")
            return len(found.fetchall())

    async def wait_for_end_of_sessions() -> None:
        async with asyncio.timeout(10):
            while count_sessions() > before:  # a server needs a moment for a session that was closed
                await asyncio.sleep(0.05)

    before = count_sessions()
    await index.make_ready(5)
    await index.close()
    assert index.try_lock("duty") is None
    assert index.hosts is not None
    with pytest.raises(IndexUnusable, match="closed"):
        index.hosts.find("one")
    with pytest.raises(IndexUnusable, match="closed"):
        await index.write(conversation_rows.invalidate_all)
    await wait_for_end_of_sessions()
    await index.make_ready(5)
    held = index.try_lock("duty")
    assert held is not None
    await index.close()
    held.release()
    await wait_for_end_of_sessions()
