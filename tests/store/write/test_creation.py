"""Forks: HEAD where the one of the source is behind its log, and the rows from the source; modes of new files."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.files import layout, lease, metadata_reader
from app.files.log import event_log
from app.files.log.branches import Fork, read_fork
from app.files.metadata_reader import Reader
from app.model.archive_format import ArchiveFile
from app.model.event import EventRow
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId, EventName
from app.store.follow import ingest
from tests.builders import (
    NEW_CONVERSATION,
    appending,
    make_conversation,
    make_event,
    make_id,
    make_message_event,
    write_event,
)
from tests.conftest import StoreOpener
from tests.store.admin.importing import imported, written
from tests.store.helpers import ONE, append_without_head, is_rebuilt_equal, log_of, state_of

FORKS = 15
EDIT = {
    "kind": "ObservationEvent",
    "source": "environment",
    "observation": {"path": "/p/a.py", "new_content": "x", "command": "create"},
}


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
    assert isinstance(fork[-2], ArchiveFile)
    state, events = (
        json.loads(fork[-2].raw),
        [json.loads(file.raw) for file in fork[:-2] if isinstance(file, ArchiveFile)],
    )
    assert state["leaf_event_id"] == events[-1]["id"] == make_event(7)["id"]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[EventName]:
    """Collect the names of the events that are read to make rows of them."""
    names_read: list[EventName] = []
    read_rows = event_log.read_rows

    def collect(reader: Reader, directory: str, names: Iterable[EventName]) -> tuple[list[EventRow], bool]:
        names_read.extend(names := list(names))
        return read_rows(reader, directory, names)

    monkeypatch.setattr(event_log, "read_rows", collect)
    return names_read


@pytest.mark.parametrize("up_to", [None, 5])
async def test_a_fork_takes_the_rows_of_its_source_and_only_its_last_event_is_parsed(
    root: Path, open_store: StoreOpener, parsed: list[EventName], monkeypatch: pytest.MonkeyPatch, up_to: int | None
) -> None:
    monkeypatch.setattr(ingest, "_COPIED_AT_ONCE", 3)
    events = [make_event(0), make_message_event(1, "a wombat"), make_event(2, **EDIT), *map(make_event, range(3, 9))]
    make_conversation(root, events=events, state={"leaf_event_id": events[-1]["id"]})
    async with open_store(root) as store:
        await store.sync()
        parsed.clear()
        fork = (await store.fork(ONE, from_event_id=None if up_to is None else events[up_to]["id"])).id
        last = 8 if up_to is None else up_to
        assert parsed == [EventName(last, events[last]["id"])]
        assert {one.conversation_id for one in await store.list_edits(["/p/a.py"])} == {ONE, fork}
        assert await store.count_conversations(ConversationFilter(q="wombat")) == 2
        assert await is_rebuilt_equal(store)


async def test_the_texts_of_a_fork_are_copied_although_its_title_is_of_their_hour(
    root: Path, open_store: StoreOpener, parsed: list[EventName]
) -> None:
    """Texts have numbers within an hour. The fork's title, written first, is in the hour of the last events."""
    now = datetime.now(UTC).isoformat()
    recent = [make_message_event(number, "a quokka", timestamp=now) for number in (1, 2)]
    events = [make_message_event(0, "a wombat"), *recent]
    make_conversation(root, events=events, state={"leaf_event_id": events[-1]["id"]})
    async with open_store(root) as store:
        await store.sync()
        parsed.clear()
        fork = await store.fork(ONE, title="A quokka")
        await store.fork(fork.id, title="Another quokka")
        assert [name.seq for name in parsed] == [2, 2]
        assert [await store.count_conversations(ConversationFilter(q=q)) for q in ("wombat", "quokka")] == [3, 3]
        assert await is_rebuilt_equal(store)


async def test_a_fork_reads_what_its_source_has_no_readable_row_of(root: Path, open_store: StoreOpener) -> None:
    """The source has a torn file, a gap, and a second branch whose events the fork does not have."""
    path = make_conversation(root, events=3, state={"leaf_event_id": make_event(7)["id"]})
    write_event(path, 3).write_text("{")
    for number, parent in ((5, 1), (6, 5), (7, 2)):
        write_event(path, number, make_event(number, parent_id=make_event(parent)["id"]))
    async with open_store(root) as store:
        await store.sync()
        whole, branch = [(await store.fork(ONE, from_event_id=one)).id for one in (None, make_event(7)["id"])]
        assert [event["id"] for event in log_of(root / branch)] == [make_event(i)["id"] for i in (0, 1, 2, 7)]
        page = await store.list_events(whole)
        assert [(len(page.items), len(page.unreadable))] == [(6, 2)]
        assert await is_rebuilt_equal(store)


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077])
async def test_every_file_of_a_conversation_has_mode_0600_whatever_the_umask(
    root: Path, open_store: StoreOpener, umask: int
) -> None:
    before = os.umask(umask)
    try:
        async with open_store(root) as store:
            created = await store.create(NEW_CONVERSATION)
            async with store.writer(created.id) as conversation:
                await conversation.append(make_event(7))
                await conversation.update(title="New", pinned=True)
            forked = await store.fork(created.id)
            archive = b"".join([chunk async for chunk in store.export([forked.id])])
            await store.delete(forked.id, permanent=True)
            await imported(store, written(root.parent / "one.zip", archive))
    finally:
        os.umask(before)
    for one in (created, forked):
        files = [path for path in (root / one.id).rglob("*") if path.is_file()]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}, files
        assert stat.S_IMODE((root / one.id).stat().st_mode) == 0o755 & ~umask
