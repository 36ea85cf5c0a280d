"""What one write does: events get their parents, and a wrong change is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.errors import EventExists, EventNotFound, InvalidEvent, StoreError
from app.files.edit import Edit, prepare_events, with_parent
from app.files.log.event_log import LogNames
from app.files.log.head import Head
from app.files.metadata_reader import Reader
from app.model.event import STATE_UPDATE
from app.model.ids import EventName
from tests.builders import make_event, make_id

IDS = [make_event(number)["id"] for number in range(4)]


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
