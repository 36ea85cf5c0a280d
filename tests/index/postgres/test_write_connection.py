"""Transactions of several processes: one at a time, and none holds up the others for long."""

from __future__ import annotations

import asyncio
import threading

import pytest

from app import Settings
from app.errors import IndexUnusable
from app.index.connections import WriteConnection
from app.index.engine import Index
from app.index.opening import make_index
from app.index.postgres import write_connection

pytestmark = [pytest.mark.long, pytest.mark.postgres]


async def test_a_process_that_says_nothing_in_its_transaction_loses_it(
    index: Index, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_connection, "_SILENT_S", 0.2)
    begun, over = threading.Event(), threading.Event()

    def stop(_: WriteConnection) -> None:
        begun.set()
        assert over.wait(60)

    other = make_index(settings, readers=1)
    await other.make_ready(5)
    try:
        writing = asyncio.create_task(index.write(stop))
        assert await asyncio.to_thread(begun.wait, 30)
        await other.write(lambda _: None)  # does not wait for the end of the first transaction
        over.set()
        with pytest.raises(IndexUnusable):
            await writing
        await index.write(lambda _: None)
    finally:
        over.set()
        await other.close()
