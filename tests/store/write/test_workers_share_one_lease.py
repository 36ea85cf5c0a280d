"""Workers of one server: one owner, of whom the last that closes a conversation gives the lease back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR

import pytest

from app import ConversationStore
from app.files import lease, open_conversation
from app.files.fingerprint import Fingerprint, fingerprint_of
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId
from tests.builders import (
    SecondProcess,
    index_database,
    index_path,
    make_conversation,
    make_event,
    make_id,
    second_process,
)
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))
SAME: dict[str, object] = {"instance": "one-server", "workers": 2}

# Another worker: appends an event to the first conversation for each line that it is given; above 50 one that moves no
# HEAD.
SIBLING = """
import asyncio, sys
from app import ConversationStore, Settings
from tests.builders import make_event, make_id

async def main():
    settings = Settings(store=sys.argv[1], instance="one-server", workers=2)
    async with ConversationStore.open(settings) as store:
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            async with store.writer(make_id(1)) as conversation:
                event = make_event(int(line))
                if int(line) > 50:
                    kind = {"kind": "ConversationStateUpdateEvent", "key": "a", "value": 1}
                    event = {"id": event["id"], "source": "environment", **kind}
                await conversation.append(event)
            print("written", flush=True)
    print("closed", flush=True)

asyncio.run(main())
"""


@contextmanager
def sibling(root: Path) -> Iterator[SecondProcess]:
    with second_process(SIBLING, root) as other:
        yield other


def write(other: SecondProcess, number: int) -> None:
    other.say(str(number))
    assert other.hear() == "written"


async def append(store: ConversationStore, number: int) -> int:
    async with store.writer(ONE) as conversation:
        return (await conversation.append(make_event(number))).seq


async def let_go(store: ConversationStore) -> None:
    """Close the first conversation, as a store does when it is idle for long."""
    await store._writers.close_conversation(ONE)


def held(root: Path) -> tuple[str | None, str | None]:
    """Return who holds the lease, and who has the conversation open as the index knows it."""
    with index_database(index_path(root)) as db:
        (marked,) = db.execute("SELECT dirty_by FROM conversation WHERE uuid = ?", (ONE,)).fetchone()
    holder = lease.find_holder(root, ONE)
    return holder.owner if holder else None, marked


OURS = ("one-server", "one-server")
NOBODYS = (None, None)


async def test_the_last_worker_that_closes_a_conversation_gives_the_lease_back(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root)
    async with open_store(root, **SAME) as store:
        with sibling(root) as other:
            write(other, 2)
            assert await append(store, 3) == 3
            await let_go(store)
            assert held(root) == OURS
            write(other, 4)
            assert await append(store, 5) == 5
            other.say()
            assert other.hear() == "closed"
            assert held(root) == OURS
        assert await append(store, 6) == 6
        await let_go(store)
        assert held(root) == NOBODYS
        assert await store.verify() == []


async def test_a_worker_that_was_killed_holds_nothing_back(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root)
    async with open_store(root, **SAME) as store:
        with sibling(root) as other:
            write(other, 2)
            assert await append(store, 3) == 3
            other.kill()
        assert held(root) == OURS
        await let_go(store)
        assert held(root) == NOBODYS
        assert await store.verify() == []


async def test_an_opening_that_fails_leaves_the_lease_to_the_worker_that_has_it_open(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root)

    def fails(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    async with open_store(root, **SAME) as store:
        with sibling(root) as other:
            write(other, 2)
            monkeypatch.setattr("app.files.open_conversation.OpenConversation.load", fails)
            with pytest.raises(OSError, match="Input/output"):
                await append(store, 3)
            assert held(root) == OURS
            write(other, 3)


async def test_a_worker_that_lost_its_lease_unnoticed_keeps_no_lease_of_another_held(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root)
    async with open_store(root, **SAME) as store, open_store(root, **SAME) as other:
        await append(other, 2)
        client = await store.claim(ONE, "a-client", ttl_s=60)
        await store.release(ONE, client)
        assert await append(store, 3) == 3
        await let_go(store)
        await let_go(other)
        assert held(root) == NOBODYS


async def test_a_worker_writes_on_after_a_clients_lease_that_another_one_lent(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root)
    async with open_store(root, **SAME) as store, open_store(root, **SAME) as other:
        assert await append(other, 2) == 2
        client = await store.claim(ONE, "a-client", ttl_s=60)
        async with store.writer(ONE, held=client) as conversation:
            await conversation.append(make_event(3))
        await store.release(ONE, client)
        assert await append(other, 4) == 4
        assert await other.verify() == []


async def test_a_worker_that_has_a_conversation_open_sees_what_another_one_set(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root)
    async with open_store(root, **SAME) as store, open_store(root, **SAME) as other:
        await append(other, 2)
        async with store.writer(ONE) as conversation:
            await conversation.set_tags({"area": "auth"})
        async with other.writer(ONE) as conversation:
            await conversation.set_tags({**conversation.tags, "done": "yes"})
            assert conversation.tags == {"area": "auth", "done": "yes"}
        await store.mark(ONE, archived=True)
        await other.mark(ONE, archived=False)
        assert await store.count_conversations(ConversationFilter(archived=False)) == 1
        assert await store.verify() == []


async def test_events_of_two_workers_get_two_numbers_where_directory_times_are_coarse(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root)

    def coarse(status: os.stat_result) -> Fingerprint:
        return Fingerprint(0, 0, 0, 0) if S_ISDIR(status.st_mode) else fingerprint_of(status)

    monkeypatch.setattr(open_conversation, "fingerprint_of", coarse)
    async with open_store(root, **SAME) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(2))
        with sibling(root) as other:
            write(other, 51)
            assert (await conversation.append(make_event(3))).seq == 4
