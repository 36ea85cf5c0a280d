"""Servers, workers of one server and clients that append in turn and are killed: no event is off the active branch."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.builders import SecondProcess, make_conversation, make_event, second_process
from tests.conftest import StoreOpener
from tests.store.helpers import ONE, log_of, state_of

pytestmark = pytest.mark.long

FOR_S = 12.0
WRITERS = [("one", 2, ""), ("one", 2, ""), ("two", 1, ""), ("three", 1, "a client")]
"""Instance, workers of its server, and the client for whom it writes."""

# Appends as often as it may, on a disk that is slow to take HEAD.
WRITER = """
import asyncio, os, random, sys, time, uuid
from app import ConversationStore, Settings
from app.errors import StoreError
from tests.builders import make_event, make_id

pwrite = os.pwrite

def slow(*arguments):
    time.sleep(0.05)
    return pwrite(*arguments)

async def main():
    root, instance, workers, client = sys.argv[1:]
    settings = Settings(store=root, instance=instance, workers=int(workers), idle_s=0.3)
    os.pwrite = slow
    async with ConversationStore.open(settings) as store:
        print("begun", flush=True)
        while True:
            try:
                held = await store.claim(make_id(1), client, ttl_s=0.5) if client else None
                force = random.random() < 0.1 and not held
                async with store.writer(make_id(1), force=force, held=held) as conversation:
                    for _ in range(3):
                        await conversation.append(make_event(6, id=str(uuid.uuid4())))
                if held:
                    await store.release(make_id(1), held)
            except StoreError:
                pass
            await asyncio.sleep(random.random() * 0.03)

asyncio.run(main())
"""


def kill_and_start(root: Path) -> None:
    dice = random.Random()  # noqa: S311
    with ExitStack() as running:

        def start(number: int) -> SecondProcess:
            return running.enter_context(second_process(WRITER, root, *WRITERS[number]))

        writers = [start(number) for number in range(len(WRITERS))]
        until = time.monotonic() + FOR_S
        while time.monotonic() < until:
            number = dice.randrange(len(WRITERS))
            assert writers[number].hear() == "begun"
            time.sleep(dice.random() * 0.3)
            writers[number].kill()
            writers[number] = start(number)


async def test_killed_writers_leave_no_event_off_the_active_branch(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root, events=[make_event(0)], state={"leaf_event_id": make_event(0)["id"]})
    async with open_store(root):
        pass
    await asyncio.to_thread(kill_and_start, root)
    await asyncio.sleep(0.6)  # the end of a client's lease
    async with open_store(root) as store:
        async with store.writer(ONE) as conversation:
            await conversation.append(make_event(7))
        log = log_of(path)
        assert [event["parent_id"] for event in log[1:]] == [event["id"] for event in log[:-1]]
        assert len(log) > 10
        assert state_of(path)["leaf_event_id"] == make_event(7)["id"]
        assert await store.verify() == []
