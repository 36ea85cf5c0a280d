"""Branches of a log, and the files that a fork begins with."""

from __future__ import annotations

import errno
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConversationNotFound, EventNotFound, UnreadableFile
from app.files import layout, staging
from app.files.log.branches import Fork, find_on_branch, first_meta, list_branch, read_fork
from app.files.metadata_reader import Reader, read_conversation
from app.model.archive_format import ArchiveFile
from app.model.conversation import ConversationFiles
from app.model.ids import ConversationId, EventName
from tests.builders import make_conversation, make_event, make_id

ONE, TWO = ConversationId(make_id(1)), ConversationId(make_id(2))
IDS = [make_event(number)["id"] for number in range(4)]
EVENTS = [
    make_event(0),
    make_event(1, parent_id=IDS[0]),
    make_event(2, parent_id=IDS[0]),
    make_event(3, parent_id=IDS[2]),
]


def read(root: Path) -> ConversationFiles:
    found = read_conversation(Reader(root, None), ONE, ONE)
    assert found is not None
    return found


def branch(path: Path, leaf: str) -> list[int]:
    with layout.open_directory(path / layout.EVENTS) as events_fd:
        return [name.seq for name in list_branch(events_fd, layout.list_event_names(events_fd), leaf)]


def test_a_branch_leads_from_a_root_to_its_leaf(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=EVENTS)
    assert [branch(path, one) for one in IDS] == [[0], [0, 1], [0, 2], [0, 2, 3]]
    with pytest.raises(EventNotFound, match="no event 'none'"):
        branch(path, "none")


@pytest.mark.parametrize(
    ("parents", "expected"),
    [([None, None, None], [0, 1, 2]), ([None, "__root__", None], [1, 2]), ([IDS[2], IDS[0], IDS[1]], [0, 1, 2])],
)
def test_parents_that_are_missing_and_cycles(tmp_path: Path, parents: list[str | None], expected: list[int]) -> None:
    events = [make_event(number, **({"parent_id": one} if one else {})) for number, one in enumerate(parents)]
    assert branch(make_conversation(tmp_path, events=events), IDS[2]) == expected


@pytest.mark.parametrize(("leaf", "found"), [(IDS[3], 2), (IDS[1], 1), (None, 2)])
def test_of_some_events_the_last_on_the_branch_of_head_is_found(tmp_path: Path, leaf: str | None, found: int) -> None:
    make_conversation(tmp_path, state={"leaf_event_id": leaf}, events=EVENTS)
    wanted = [EventName(seq, IDS[seq]) for seq in (1, 2)]
    assert find_on_branch(Reader(tmp_path, None), ONE, wanted) == wanted[found - 1]


@pytest.mark.parametrize("leaf", [IDS[3], None])
def test_a_branch_with_a_large_event_is_left_to_the_thread_for_these(tmp_path: Path, leaf: str | None) -> None:
    make_conversation(tmp_path, state={"leaf_event_id": leaf}, events=EVENTS)
    wanted = [EventName(1, IDS[1])]
    with pytest.raises(layout.LargeFile):
        find_on_branch(Reader(tmp_path, None), ONE, wanted, max_bytes=100)
    assert find_on_branch(Reader(tmp_path, None), ONE, wanted, max_bytes=100_000) is None


@pytest.mark.parametrize(("from_event_id", "seqs"), [(None, [0, 1, 2, 3]), (IDS[3], [0, 2, 3])])
def test_a_fork_has_the_events_of_all_or_of_one_branch(
    tmp_path: Path, from_event_id: str | None, seqs: list[int]
) -> None:
    make_conversation(tmp_path, state={"leaf_event_id": IDS[3]}, events=EVENTS)
    files = list(read_fork(Reader(tmp_path, None), read(tmp_path), Fork(TWO, 0, from_event_id=from_event_id)))
    names = [f"events/event-{place:05d}-{IDS[seq]}.json" for place, seq in enumerate(seqs)]
    assert [file.name for file in files] == [*names, "base_state.json", "meta.json"]
    state, meta = (json.loads(file.raw) for file in files[-2:] if isinstance(file, ArchiveFile))
    assert (state["leaf_event_id"], meta["id"], meta["forked_from_conversation_id"]) == (IDS[3], TWO, ONE)


def test_a_fork_copies_a_large_event_in_pieces(tmp_path: Path) -> None:
    large = make_event(1, parent_id=IDS[0], extra="x" * 20_000_000)
    path = make_conversation(tmp_path, state={"leaf_event_id": IDS[1]}, events=[EVENTS[0], large])
    source = read(tmp_path)
    tracemalloc.start()
    try:
        files = read_fork(Reader(tmp_path, None), source, Fork(TWO, 0))
        staged = staging.stage(tmp_path, TWO, files, read_back=False)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    name = f"events/event-00001-{IDS[1]}.json"
    assert (staged.path / name).read_bytes() == (path / name).read_bytes()
    assert most_bytes < 8_000_000


def test_a_large_event_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = make_event(1, parent_id=IDS[0], extra="x" * 3_000_000)
    make_conversation(tmp_path, state={"leaf_event_id": IDS[1]}, events=[EVENTS[0], large])
    source, system_read = read(tmp_path), os.read

    def fail(descriptor: int, length: int) -> bytes:
        if length == layout.PIECE_BYTES and os.lseek(descriptor, 0, os.SEEK_CUR):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return system_read(descriptor, length)

    monkeypatch.setattr(os, "read", fail)
    files = read_fork(Reader(tmp_path, None), source, Fork(TWO, 0))
    with pytest.raises(
        UnreadableFile, match=rf"^events/event-00001-{IDS[1]}.json: cannot be read \(Input/output error\)$"
    ):
        staging.stage(tmp_path, TWO, files, read_back=False)
    assert [one.name for one in tmp_path.iterdir()] == [ONE]


def test_a_source_that_is_gone_is_not_found(tmp_path: Path) -> None:
    path = make_conversation(tmp_path)
    source = read(tmp_path)
    path.rename(tmp_path / "away")
    with pytest.raises(ConversationNotFound, match=f"no conversation {ONE}"):
        list(read_fork(Reader(tmp_path, None), source, Fork(TWO, 0)))


def test_a_first_meta_has_what_agent_server_needs(tmp_path: Path) -> None:
    (make_conversation(tmp_path, events=2) / "meta.json").unlink()
    meta: dict[str, Any] = json.loads(first_meta(read(tmp_path)).raw)
    assert meta == {
        "id": ONE,
        "title": None,
        "tags": {},
        "workspace": {"kind": "LocalWorkspace", "working_dir": "/home/dev/project"},
        "created_at": "2026-10-01T12:00:00Z",
        "updated_at": "2026-10-01T12:00:01Z",
    }
