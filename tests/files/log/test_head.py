"""HEAD: where base_state.json says it is, and where it should be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.files import layout, lease, liveness
from app.files.log import event_log
from app.files.log.event_log import list_names
from app.files.log.head import Head, find_head, find_missing_head, find_moved_head, may_be_behind
from tests.builders import make_conversation, make_event

IDS = [make_event(number)["id"] for number in range(4)]
STATE_UPDATE: dict[str, Any] = {"kind": "ConversationStateUpdateEvent", "key": "a", "value": 1}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    chain = [make_event(number, parent_id=IDS[number - 1] if number else None) for number in range(3)]
    return make_conversation(tmp_path, state={"leaf_event_id": IDS[0]}, events=[*chain, make_event(3, **STATE_UPDATE)])


@pytest.fixture
def opened(path: Path) -> Iterator[tuple[int, int]]:
    with layout.open_directory(path) as fd, layout.open_directory(layout.EVENTS, fd) as events_fd:
        yield fd, events_fd


@pytest.mark.parametrize(
    ("state", "head"),
    [
        ({"leaf_event_id": IDS[1]}, IDS[1]),
        ({"leaf_event_id": "not there"}, IDS[2]),
        ({}, IDS[2]),
        ({"head_is_empty": True}, None),
    ],
)
def test_head_is_the_leaf_or_the_last_node(opened: tuple[int, int], state: dict[str, Any], head: str | None) -> None:
    assert find_head(opened[1], state, event_log.list_names(opened[1])) == Head(head)


@pytest.mark.parametrize(("state_ns", "moved"), [(0, IDS[2]), (2, IDS[2]), (3, None), (9, None)])
def test_events_newer_than_the_state_move_head(
    path: Path, opened: tuple[int, int], state_ns: int, moved: str | None
) -> None:
    for number, file in enumerate(sorted((path / "events").iterdir())):
        os.utime(file, ns=(0, 2 if number in (1, 2) else number))
    names = layout.list_event_names(opened[1])
    found = find_moved_head(*opened, {"leaf_event_id": IDS[0]}, state_ns, names)
    assert found == (None if moved is None else Head(moved))


@pytest.mark.parametrize(("head_from", "moved"), [(None, None), (1, IDS[2]), (3, None)])
def test_events_that_the_lease_names_move_head_whatever_the_times(
    path: Path, opened: tuple[int, int], head_from: int | None, moved: str | None
) -> None:
    state = path / layout.STATE
    with liveness.stay_alive(path.parent, "me"):
        held = lease.claim(path.parent, path.name, "me").lease
        lease.write_lease(opened[0], held._replace(head_from=head_from))
    names = layout.list_event_names(opened[1])
    later_ns = state.stat().st_mtime_ns + 10**9
    found = find_moved_head(*opened, {"leaf_event_id": IDS[0]}, later_ns, names)
    assert found == (None if moved is None else Head(moved))


def test_an_event_of_another_branch_moves_no_head(path: Path, opened: tuple[int, int]) -> None:
    names = layout.list_event_names(opened[1])
    (path / layout.EVENTS / f"event-00001-{IDS[1]}.json").write_text(json.dumps(make_event(1, parent_id="__root__")))
    assert find_moved_head(*opened, {"leaf_event_id": IDS[0]}, 0, names) is None
    assert find_moved_head(*opened, {"leaf_event_id": None}, 0, names) is None


def test_under_the_same_lease_only_events_after_the_claim_count(path: Path, opened: tuple[int, int]) -> None:
    state = {"leaf_event_id": IDS[0]}
    os.utime(path / layout.STATE, ns=(0, 0))
    with liveness.stay_alive(path.parent, "me"):
        lease.claim(path.parent, path.name, "me")
    assert find_missing_head(*opened, state, list_names(opened[1]), same_lease=False) == Head(IDS[2])
    for file in (path / layout.EVENTS).iterdir():
        os.utime(file, ns=(1, 1))
    assert find_missing_head(*opened, state, list_names(opened[1]), same_lease=True) is None


def test_head_may_be_behind_in_a_run_and_under_a_lease(path: Path, opened: tuple[int, int]) -> None:
    assert not may_be_behind(opened[0], {"execution_status": "idle"})
    assert may_be_behind(opened[0], {"execution_status": "running"})
    with liveness.stay_alive(path.parent, "me"):
        held = lease.claim(path.parent, path.name, "me").lease
        assert may_be_behind(opened[0], {"execution_status": "idle"})
        assert lease.release(path.parent, path.name, held)
    assert not may_be_behind(opened[0], {"execution_status": "idle"})
