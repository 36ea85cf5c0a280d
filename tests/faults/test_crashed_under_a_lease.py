"""A process that dies between the two files of an append, under a lease that others go on with."""

from __future__ import annotations

import os
from pathlib import Path

from app.files import lease
from tests.builders import make_conversation, make_event, second_process
from tests.conftest import StoreOpener
from tests.store.helpers import ONE, log_of, state_of

# A worker: writes for a client who holds a lease, or for itself, and dies before HEAD of its second event is written.
DYING = """
import asyncio, os, signal, sys
from app import ConversationStore, Settings
from app.files import lease
from tests.builders import make_event, make_id

async def main():
    root, instance, client = sys.argv[1:]
    async with ConversationStore.open(Settings(store=root, instance=instance)) as store:
        await store.sync()
        held = await store.claim(make_id(1), client, ttl_s=600) if client else None
        async with store.writer(make_id(1), held=held) as conversation:
            await conversation.append(make_event(5))
            print("mine", flush=True)
            sys.stdin.readline()
            os.pwrite = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            await conversation.append(make_event(6))

asyncio.run(main())
"""


def left_behind(path: Path) -> bool:
    """Whether event 6 is in the log and HEAD before it."""
    return (log_of(path)[-1]["id"], state_of(path)["leaf_event_id"]) == (make_event(6)["id"], make_event(5)["id"])


async def test_a_client_goes_on_after_the_event_that_its_server_died_on(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    with second_process(DYING, root, "one", "a client") as server:
        assert server.hear() == "mine"
        server.say()
        server.end()
    assert left_behind(path)
    held = lease.find_lease(root, ONE)
    async with open_store(root) as store:
        async with store.writer(ONE, held=held) as conversation:
            await conversation.append(make_event(7))
        assert log_of(path)[-1]["parent_id"] == make_event(6)["id"]
        assert await store.verify() == []


async def test_a_worker_goes_on_after_the_event_that_another_died_on(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root, instance="one") as store:
        async with store.writer(ONE) as conversation:
            await conversation.append(make_event(4))
            with second_process(DYING, root, "one", "") as sibling:
                assert sibling.hear() == "mine"
                sibling.say()
                sibling.end()
            assert left_behind(path)
            await conversation.append(make_event(7))
        assert log_of(path)[-1]["parent_id"] == make_event(6)["id"]
        assert await store.verify() == []


async def test_a_lease_undoes_no_navigation_in_a_copy_that_lost_its_times(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root, events=[make_event(0), make_event(1, parent_id=make_event(0)["id"])])
    async with open_store(root) as store:
        async with store.writer(ONE) as conversation:
            await conversation.navigate(make_event(0)["id"])
        await store.release(ONE, await store.claim(ONE, "a client", ttl_s=600))
        for file in path.rglob("*"):
            os.utime(file, ns=(0, 0))
        held = await store.claim(ONE, "a client", ttl_s=600)
        async with store.writer(ONE, held=held) as conversation:
            await conversation.append(make_event(7))
    assert log_of(path)[-1]["parent_id"] == make_event(0)["id"]
