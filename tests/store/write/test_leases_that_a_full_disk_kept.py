"""Leases that could not be given back when a conversation was closed: they are as soon as that is possible."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.files import lease
from app.model.filters import Status
from app.model.ids import ConversationId
from tests.builders import index_tables, make_conversation, make_event, make_id
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No lease can be written."""
    real = os.open

    def failing(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if flags & os.O_CREAT and str(path).startswith(".owner_lease.json."):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, flags, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", failing)
        yield


async def nobody_holds(root: Path) -> bool:
    deadline = time.monotonic() + 60
    while lease.find_holder(root, ONE) is not None and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return lease.find_holder(root, ONE) is None


@pytest.mark.parametrize("status", [Status.IDLE, Status.RUNNING])
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_lease_that_a_full_disk_kept_is_given_back_when_there_is_room(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, workers: int, status: Status
) -> None:
    make_conversation(root)
    async with open_store(root, workers=workers, instance="one-server") as store:
        async with store.writer(ONE) as conversation:
            await conversation.append(make_event(5))
            await conversation.set_status(status)
        with full_disk(monkeypatch):
            await store._writers.close_conversation(ONE)
            assert lease.find_holder(root, ONE) is not None
        assert await nobody_holds(root)
        assert index_tables(store.settings.index_path)["conversation"]
        assert await store.verify() == []


@pytest.mark.parametrize("workers", [1, 2])
async def test_it_can_be_written_to_lent_and_deleted_meanwhile(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    make_conversation(root)
    async with open_store(root, workers=workers, instance="one-server") as store:
        for number in (5, 6):
            async with store.writer(ONE) as conversation:
                await conversation.append(make_event(number))
                with full_disk(monkeypatch):
                    await store._writers.close_conversation(ONE)
            with full_disk(monkeypatch):
                await store._writers.close_conversation(ONE)
        held = await store.claim(ONE, "a-client", ttl_s=60)
        await store.release(ONE, held)
        async with store.writer(ONE) as conversation:
            assert (await conversation.append(make_event(7))).seq == 4
        with full_disk(monkeypatch):
            await store._writers.close_conversation(ONE)
        await store.delete(ONE)
        assert await store.verify() == []
