"""A fork's HEAD, where the source's is behind its log: between the two files of an append, or after a crash there."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from app.files import layout, lease, metadata_reader
from app.files.log.branches import Fork, read_fork
from app.model.ids import ConversationId, EventName
from tests.builders import make_conversation, make_event, make_id, second_process, write_event
from tests.conftest import StoreOpener
from tests.store.write.test_conversation_writer import ID, log_of, state_of

FORKS = 15

# Appends to a conversation until it is killed.
WRITER = """
import asyncio, sys, uuid
from app import ConversationStore, Settings
from tests.builders import make_event, make_id

async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1])) as store, store.writer(make_id(1)) as conversation:
        await conversation.append(make_event(5))
        print("writing", flush=True)
        while True:
            await conversation.append(make_event(6, id=str(uuid.uuid4())))

asyncio.run(main())
"""


def append_without_head(path: Path) -> None:
    """Leave what a crash leaves between an event and HEAD."""
    now_ns = time.time_ns()
    os.utime(path / "base_state.json", ns=(now_ns - 2, now_ns - 2))
    event = make_event(7, parent_id=state_of(path)["leaf_event_id"])
    os.utime(write_event(path, 2, event), ns=(now_ns - 1, now_ns - 1))


@pytest.mark.parametrize("crashed", [True, False])
async def test_what_a_crash_kept_head_from_is_under_the_head_of_a_fork(
    root: Path, open_store: StoreOpener, crashed: bool
) -> None:
    path = make_conversation(root, state={"leaf_event_id": make_event(1)["id"]})
    async with open_store(root) as store:
        await store.sync()
        append_without_head(path)
        claimed = lease.claim(root, path.name, "one that died", boot="another boot", ttl_s=-1)
        if not crashed:
            lease.release(root, path.name, claimed.lease)
        before = (path / "base_state.json").read_bytes()
        fork = root / (await store.fork(ID)).id
        assert len(log_of(fork)) == 3
        assert state_of(fork)["leaf_event_id"] == make_event(7 if crashed else 1)["id"]
        assert (path / "base_state.json").read_bytes() == before


async def test_a_fork_beside_a_writer_ends_with_its_own_last_event(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, state={"leaf_event_id": make_event(1)["id"]})
    lengths = set()
    async with open_store(root) as store:
        await store.sync()
        with second_process(WRITER, root) as writer:
            assert writer.hear() == "writing"
            for number in range(FORKS):
                fork = root / (await store.fork(ID, fork_id=ConversationId(make_id(100 + number)))).id
                log = log_of(fork)
                assert state_of(fork)["leaf_event_id"] == log[-1]["id"], f"fork {number}, with {len(log)} events"
                lengths.add(len(log))
    assert len(lengths) > 1


async def test_a_fork_ends_with_its_last_event_also_when_the_owner_lets_go_meanwhile(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_conversation(root, state={"leaf_event_id": make_event(1)["id"]})
    list_event_names = layout.list_event_names

    def after_an_append(events_fd: int) -> list[EventName]:
        if state_of(path)["leaf_event_id"] == make_event(1)["id"]:
            append_without_head(path)
            (path / "base_state.json").write_text(json.dumps(state_of(path) | {"leaf_event_id": make_event(7)["id"]}))
        return list_event_names(events_fd)

    async with open_store(root) as store:
        source = metadata_reader.read_conversation(store.reader, ID, ID)
        assert source is not None
        monkeypatch.setattr(layout, "list_event_names", after_an_append)
        fork = list(read_fork(store.reader, source, Fork(ConversationId(make_id(100)), 0)))
    state, events = json.loads(fork[-2].raw), [json.loads(file.raw) for file in fork[:-2]]
    assert state["leaf_event_id"] == events[-1]["id"] == make_event(7)["id"]
