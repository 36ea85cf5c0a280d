"""A fork's HEAD, where the source's is behind its log: between the two files of an append, or after a crash there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.files import layout, lease, metadata_reader
from app.files.log.branches import Fork, read_fork
from app.model.ids import ConversationId, EventName
from tests.builders import appending, make_conversation, make_event, make_id
from tests.conftest import StoreOpener
from tests.store.helpers import ONE, append_without_head, log_of, state_of

FORKS = 15


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
        fork = root / (await store.fork(ONE)).id
        assert len(log_of(fork)) == 3
        assert state_of(fork)["leaf_event_id"] == make_event(7 if crashed else 1)["id"]
        assert (path / "base_state.json").read_bytes() == before


@pytest.mark.long
async def test_a_fork_beside_a_writer_ends_with_its_own_last_event(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, state={"leaf_event_id": make_event(1)["id"]})
    lengths = set()
    async with open_store(root) as store:
        await store.sync()
        with appending(root):
            for number in range(FORKS):
                fork = root / (await store.fork(ONE, fork_id=ConversationId(make_id(100 + number)))).id
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
        source = metadata_reader.read_conversation(store.reader, ONE, ONE)
        assert source is not None
        monkeypatch.setattr(layout, "list_event_names", after_an_append)
        fork = list(read_fork(store.reader, source, Fork(ConversationId(make_id(100)), 0)))
    state, events = json.loads(fork[-2].raw), [json.loads(file.raw) for file in fork[:-2]]
    assert state["leaf_event_id"] == events[-1]["id"] == make_event(7)["id"]
