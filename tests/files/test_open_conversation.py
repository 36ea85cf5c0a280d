"""An open conversation: one write does all of an edit, and what others change is read again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.errors import (
    EventExists,
    EventNotFound,
    HostSilent,
    InvalidEvent,
    OutcomeUnknown,
    OwnershipLost,
    StoreError,
    UnreadableFile,
    WriteFailed,
)
from app.files import layout, lease, liveness
from app.files.fingerprint import UNTRUSTED
from app.files.log.edit import Edit, prepare_events, with_parent
from app.files.log.event_log import LogNames
from app.files.log.head import Head
from app.files.metadata_reader import Reader, read_conversation
from app.files.open_conversation import OpenConversation
from app.model.conversation import fold
from app.model.event import STATE_UPDATE
from app.model.ids import ConversationId, EventName
from tests.builders import make_conversation, make_event, make_id, opened_files, write_event

ONE = ConversationId(make_id(1))
ME = "convstore-me"
IDS = [make_event(number)["id"] for number in range(5)]


@pytest.fixture
def path(root: Path) -> Iterator[Path]:
    with liveness.stay_alive(root, ME):
        yield make_conversation(root, state={"leaf_event_id": IDS[1]})


def load(path: Path) -> OpenConversation:
    claimed = lease.claim(path.parent, path.name, ME)
    opened = OpenConversation(Reader(path.parent, None), path.name, ONE, claimed.lease)
    assert opened.load(after_crash=False) == "finished"
    return opened


def state_of(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((path / "base_state.json").read_text())
    return state


def test_one_edit_sets_all_that_it_says(path: Path) -> None:
    opened = load(path)
    edit = Edit(
        [make_event(2)], state={"execution_status": "idle"}, meta={"title": "New"}, sidecar={"archived": True},
        tags=lambda tags: {**tags, "a": "b"},
    )  # fmt: skip
    written = opened.apply(edit)
    assert ([row.name.seq for row in written.events], written.signature, written.warning) == ([2], UNTRUSTED, None)
    found = read_conversation(opened.reader, path.name, ONE)
    assert found is not None
    assert fold(written.files) == fold(found)
    assert state_of(path)["leaf_event_id"] == IDS[2]
    assert (written.files.meta or {})["title"] == "New"
    assert (written.files.state or {})["tags"] == {"a": "b"}
    assert written.files.sidecar == {"archived": True}
    assert opened.is_unchanged()


def test_what_another_program_changed_is_read_before_the_next_write(path: Path) -> None:
    opened = load(path)
    write_event(path, 2)
    (path / "meta.json").write_text('{"title": "Theirs", "unknown": 1}')
    assert not opened.is_unchanged()
    written = opened.apply(Edit([make_event(3)], meta={"title": "Ours"}))
    assert (written.reread, written.events[0].name.seq) == (True, 3)
    assert orjson.loads((path / "meta.json").read_bytes()) == {"title": "Ours", "unknown": 1}
    assert not opened.apply(Edit([make_event(4)])).reread


def test_an_append_opens_no_file_of_the_conversation_but_its_state(path: Path) -> None:
    opened = load(path)
    opened.apply(Edit([make_event(2)]))
    with opened_files() as names:
        opened.apply(Edit([make_event(3)]))
    assert [name for name in names if name.endswith(".json")] == ["owner_lease.json", "base_state.json"]


def test_an_edit_that_is_refused_writes_nothing(path: Path) -> None:
    opened = load(path)
    before = state_of(path)
    with pytest.raises(EventExists):
        opened.apply(Edit([make_event(1)], state={"execution_status": "idle"}))
    assert (state_of(path), opened.broken) == (before, False)


def test_head_moves_to_an_event_or_to_nothing(path: Path) -> None:
    opened = load(path)
    opened.apply(Edit(head=Head(IDS[0])))
    assert state_of(path)["leaf_event_id"] == IDS[0]
    opened.apply(Edit(head=Head(None)))
    assert (state_of(path)["leaf_event_id"], state_of(path)["head_is_empty"]) == (None, True)


def test_a_time_is_saved_only_where_nobody_else_wrote(path: Path) -> None:
    opened = load(path)
    assert opened.save_updated_at(1_000_000)
    assert json.loads((path / "meta.json").read_text())["updated_at"] == "1970-01-01T00:00:01Z"
    write_event(path, 2)
    assert not opened.save_updated_at(2_000_000)


def test_one_without_a_state_is_not_opened(path: Path) -> None:
    (path / "base_state.json").unlink()
    with pytest.raises(UnreadableFile, match=r"base_state\.json: missing"):
        load(path)


def test_an_owner_that_was_taken_over_writes_nothing(path: Path) -> None:
    opened = load(path)
    with liveness.stay_alive(path.parent, "another"):
        lease.claim(path.parent, path.name, "another", force=True)
        with pytest.raises(OwnershipLost, match="is no longer owned by"):
            opened.apply(Edit([make_event(2)]))


class Hosts:
    """The hosts of an index that hears this one only for the next `heard` looks."""

    heard = 1

    def find(self, _: str) -> None:
        return None

    def require_alive(self) -> None:
        self.heard -= 1
        if self.heard < 0:
            raise HostSilent("silent; try again")


@pytest.mark.parametrize("heard", range(6))
def test_a_host_that_falls_silent_says_whether_an_event_may_be_there(path: Path, heard: int) -> None:
    with liveness.share(path.parent, hosts := Hosts(), None):
        hosts.heard = 100
        opened = load(path)
        before = len(list((path / "events").glob("event-*.json")))
        hosts.heard = heard
        raised: type[StoreError] | None = None
        try:
            opened.apply(Edit([make_event(2)]))
        except StoreError as error:
            raised = type(error)
    after = len(list((path / "events").glob("event-*.json")))
    assert raised in {HostSilent, OutcomeUnknown, None}
    assert raised is not HostSilent or after == before, "nothing was written"
    assert raised is not None or after == before + 1
    assert heard or raised is HostSilent


def parents(edit: Edit, head: str | None, names: Sequence[EventName]) -> list[str | None]:
    prepared = prepare_events(edit, LogNames(names), lambda: Head(head), Reader(Path(), None), make_id(1))
    return [orjson.loads(one.raw).get("parent_id") for one in prepared]


def test_each_event_follows_the_one_before_it() -> None:
    events = [make_event(1), make_event(2, kind=STATE_UPDATE), make_event(3)]
    assert parents(Edit(events), IDS[0], [EventName(0, IDS[0])]) == [IDS[0], IDS[1], IDS[1]]
    assert parents(Edit(events[:1]), None, []) == [None]
    assert parents(Edit(events[:1]), None, [EventName(0, IDS[0])]) == ["__root__"]
    assert parents(Edit([make_event(1, parent_id=IDS[0])]), IDS[2], [EventName(0, IDS[0])]) == [IDS[0]]


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (Edit([make_event(0)]), EventExists),
        (Edit([make_event(1), make_event(1)]), EventExists),
        (Edit([make_event(1, parent_id="none")]), InvalidEvent),
        (Edit(head=Head("none")), EventNotFound),
    ],
)
def test_a_wrong_change_is_refused(edit: Edit, error: type[StoreError]) -> None:
    with pytest.raises(error):
        parents(edit, IDS[0], [EventName(0, IDS[0])])


def test_a_parent_stands_where_agent_server_writes_it() -> None:
    event: dict[str, Any] = {"kind": "X", "id": "a", "timestamp": "t", "source": "user"}
    assert list(with_parent(event, "p")) == ["id", "timestamp", "source", "parent_id", "kind"]
    assert with_parent(event, None) is event


@pytest.mark.parametrize("head", ["the last event", "none"])
def test_opening_and_the_first_append_each_list_the_log_once(
    root: Path, monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    path = make_conversation(root, events=20, state={} if head == "none" else {"leaf_event_id": make_event(19)["id"]})
    listed: list[int] = []
    list_event_names = layout.list_event_names

    def count_listings(events_fd: int) -> list[EventName]:
        listed.append(events_fd)
        return list_event_names(events_fd)

    monkeypatch.setattr(layout, "list_event_names", count_listings)
    opened = load(path)
    opened.apply(Edit(events=[make_event(30)]))
    assert len(listed) == 2  # each once: a log without a length marker is listed again


def lose_head(path: Path, head: str) -> None:
    """Leave what a power cut may leave: an earlier HEAD, with the time of the last write."""
    (path / layout.STATE).write_text(json.dumps(state_of(path) | {"leaf_event_id": head}))


def head_from(path: Path) -> int | None:
    held = lease.find_lease(path.parent, path.name)
    assert held is not None
    return held.head_from


def test_a_head_that_a_power_cut_took_is_found_in_the_log(path: Path) -> None:
    opened = load(path)
    for number in (2, 3, 4):
        opened.apply(Edit([make_event(number)]))
    lose_head(path, IDS[2])
    after = load(path)
    assert (state_of(path)["leaf_event_id"], head_from(path)) == (IDS[4], 2)
    after.apply(Edit([make_event(5)]))
    assert json.loads(max((path / "events").glob("*.json")).read_text())["parent_id"] == IDS[4]


def test_a_navigation_is_not_taken_for_a_lost_head(path: Path) -> None:
    opened = load(path)
    opened.apply(Edit([make_event(2)]))
    opened.apply(Edit([make_event(3)]))
    opened.apply(Edit(head=Head(IDS[2])))
    assert head_from(path) == 4
    load(path)
    assert state_of(path)["leaf_event_id"] == IDS[2]


def test_the_lease_says_that_head_may_be_behind_before_the_event_is_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = load(path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("app.files.log.event_log.rename_exclusively", refuse)
        with pytest.raises(WriteFailed):
            opened.apply(Edit([make_event(2)]))
    assert (head_from(path), opened.head_is_durable) == (2, True)
    opened.apply(Edit([make_event(2)]))
    assert (head_from(path), opened.head_is_durable) == (2, False)


def test_a_release_makes_head_durable_and_the_lease_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = load(path)
    opened.apply(Edit([make_event(2)]))
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert lease.release(path.parent, path.name, opened.lease)
    assert synced[0] == (path / layout.STATE).stat().st_ino
    assert head_from(path) is None


def test_a_head_that_the_disk_refuses_is_written_to_a_new_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = load(path)
    opened.apply(Edit([make_event(2)]))
    before = (path / layout.STATE).stat().st_ino

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("app.files.durable.sync_file", refuse)
        opened.sync_head()
    assert opened.head_is_durable
    assert (state_of(path)["leaf_event_id"], (path / layout.STATE).stat().st_ino != before) == (IDS[2], True)
    opened.apply(Edit([make_event(3)]))
    opened.sync_head()
    assert (opened.head_is_durable, state_of(path)["leaf_event_id"]) == (True, IDS[3])
