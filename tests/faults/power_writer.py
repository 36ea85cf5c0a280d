"""`python -m tests.faults.power_writer STORE SEED`: write all the time, until the disk is gone, and say what is done.

It prints `begin NUMBER KIND ID VALUE` before each write and `done NUMBER` after its acknowledgement.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections.abc import Awaitable
from pathlib import Path

from app import ConversationStore, Settings
from app.errors import StoreError
from app.model.ids import ConversationId
from tests.builders import make_event, make_id
from tests.faults.operations import settle_clock

WRITERS = 3
"""How many conversations are written at once, the first ones of the store. A further one comes and goes."""

_EVENTS_FROM = 1000
_REQUEST = {"agent": {"llm": {"model": "a/model"}}, "workspace": {"working_dir": "/home/dev"}}


class Writer:
    """Writes into one store, and tells."""

    def __init__(self, store: ConversationStore, seed: int) -> None:
        self._store = store
        self._numbers = itertools.count()
        self._random = random.Random(seed)  # noqa: S311

    async def _tell(self, kind: str, conversation_id: str, value: str, work: Awaitable[object]) -> None:
        number = next(self._numbers)
        print(f"begin {number} {kind} {conversation_id} {value}", flush=True)
        await work
        print(f"done {number}", flush=True)

    async def write(self, number: int) -> None:
        """Append events, alone and in batches, and set titles."""
        conversation_id = ConversationId(make_id(number))
        events = (make_event(n) for n in itertools.count(_EVENTS_FROM * number))
        while True:
            async with self._store.writer(conversation_id) as conversation:
                chosen = self._random.random()
                if chosen < 0.2:
                    title = f"title-{self._random.random()}"
                    await self._tell("title", conversation_id, title, conversation.set_title(title))
                else:
                    batch = list(itertools.islice(events, 1 if chosen < 0.8 else 3))
                    ids = ",".join(event["id"] for event in batch)
                    await self._tell("append", conversation_id, ids, conversation.append_batch(batch))

    async def come_and_go(self) -> None:
        """Create, delete and restore conversations."""
        for number in itertools.count(WRITERS + 1):
            conversation_id = ConversationId(make_id(number))
            request = _REQUEST | {"conversation_id": conversation_id}
            await self._tell("create", conversation_id, "-", self._store.create(request))
            if number % 2:
                await self._tell("delete", conversation_id, "-", self._store.delete(conversation_id))
                if number % 3:
                    await self._tell("restore", conversation_id, "-", self._store.restore(conversation_id))


async def main(root: Path, seed: int) -> None:
    """Write until that fails."""
    async with ConversationStore.open(Settings(store=root)) as store:
        await store.sync()
        writer = Writer(store, seed)
        print("ready", flush=True)
        await asyncio.gather(writer.come_and_go(), *(writer.write(number) for number in range(1, WRITERS + 1)))


if __name__ == "__main__":
    settle_clock()
    try:
        asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
    except (StoreError, OSError) as error:
        sys.exit(f"the disk is gone: {error}")
