"""Leases are renewed while a conversation is open, whatever holds up another one."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from app.files import layout, lease
from app.files.layout import LOG_LOCK
from app.locks import hold_lock
from app.model.ids import ConversationId
from tests.builders import make_conversation, make_event, make_id
from tests.conftest import StoreOpener

ONE, TWO = ConversationId(make_id(1)), ConversationId(make_id(2))


def expires_at(root: Path, conversation_id: ConversationId) -> float:
    held = lease.find_lease(root, conversation_id)
    return held.expires_at if held else 0.0


async def test_a_write_that_waits_for_another_program_keeps_no_other_lease_from_being_renewed(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.1)
    for number in (1, 2):
        make_conversation(root, number)
    async with open_store(root) as store:
        for one in (ONE, TWO):
            async with store.writer(one) as conversation:
                await conversation.append(make_event(5))
        async with store.writer(ONE) as conversation:
            with layout.open_directory(os.fspath(root / ONE / "events")) as fd, hold_lock(LOG_LOCK, 30, dir_fd=fd):
                waits = asyncio.create_task(conversation.append(make_event(6)))
                await asyncio.sleep(1.5)
                before, deadline = expires_at(root, TWO), time.monotonic() + 8
                while expires_at(root, TWO) == before and time.monotonic() < deadline:
                    await asyncio.sleep(0.05)
                assert expires_at(root, TWO) > before
                assert not waits.done()
            assert (await waits).seq == 3
    assert [lease.find_holder(root, one) for one in (ONE, TWO)] == [None, None]
