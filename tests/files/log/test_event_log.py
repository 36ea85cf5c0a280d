"""Reading event files: facts for the index, bytes for an answer."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from app.files.log import event_log
from app.files.log.event_log import RawEvent
from app.files.metadata_reader import Reader
from app.model.event import NO_FACTS, EventFacts, EventRow, KnownEnds, parse_event
from app.model.ids import EventName, event_file_name
from tests.builders import make_conversation, make_event, make_id, write_event

ONE = make_id(1)
NOON_US = 1_790_856_000_000_000


def name_of(number: int) -> EventName:
    return EventName(number, make_event(number)["id"])


def message(number: int) -> EventRow:
    time_us = NOON_US + number * 1_000_000
    return EventRow(name_of(number), EventFacts("MessageEvent", "user", time_us, None, f"message {number}"))


def reasons(path: Path, names: list[EventName]) -> list[str | None]:
    """Return why each event is unreadable, which both ways of reading must say alike."""
    reader = Reader(path.parent, UTC)
    rows, _ = event_log.read_rows(reader, path.name, names)
    events = event_log.read_events(reader, path.name, names)
    assert [event.unreadable for event in events] == [row.unreadable for row in rows]
    return [row.unreadable for row in rows]


def test_names_come_in_log_order(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=0)
    for number in (100_001, 7, 99_999, 100_000):
        write_event(path, number)
    names = event_log.list_events(Reader(tmp_path, UTC), ONE)
    assert names == [name_of(number) for number in (7, 99_999, 100_000, 100_001)]


@pytest.mark.parametrize("directory", [make_id(9), "../elsewhere"])
def test_a_directory_that_is_not_there_has_no_events(tmp_path: Path, directory: str) -> None:
    assert event_log.list_events(Reader(tmp_path, UTC), directory) == []


def test_rows_hold_the_facts_of_the_files_asked_for(tmp_path: Path) -> None:
    make_conversation(tmp_path, events=4)
    rows, _ = event_log.read_rows(Reader(tmp_path, UTC), ONE, [name_of(3), name_of(1)])
    assert rows == [message(3), message(1)]


def test_events_are_the_bytes_of_their_files(tmp_path: Path) -> None:
    raw = b' {"id":1, "kind" : "a", "b" : [ ]}\n'
    write_event(make_conversation(tmp_path, events=0), 0).write_bytes(raw)
    assert event_log.read_events(Reader(tmp_path, UTC), ONE, [name_of(0)]) == [RawEvent(name_of(0), raw)]


def test_an_event_past_99999_is_read(tmp_path: Path) -> None:
    write_event(make_conversation(tmp_path, events=0), 123_456)
    assert event_log.read_rows(Reader(tmp_path, UTC), ONE, [name_of(123_456)]) == ([message(123_456)], False)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"\0" * 10, "not valid JSON"),
        (b'{"id": "a', "not valid JSON"),
        (b"5", "not a JSON"),
        (b'{"id": "a"}', "not an event: it has no kind"),
    ],
)
def test_an_unreadable_file_has_a_reason_and_harms_no_other(tmp_path: Path, content: bytes, reason: str) -> None:
    path = make_conversation(tmp_path, events=3)
    write_event(path, 1).write_bytes(content)
    first, second, third = reasons(path, [name_of(0), name_of(1), name_of(2)])
    assert (first, third) == (None, None)
    assert second is not None
    assert second.startswith(reason)


def test_an_unreadable_event_has_no_facts_and_no_bytes(tmp_path: Path) -> None:
    write_event(make_conversation(tmp_path, events=1), 0).write_bytes(b"")
    reader = Reader(tmp_path, UTC)
    assert event_log.read_rows(reader, ONE, [name_of(0)]) == (
        [EventRow(name_of(0), NO_FACTS, "the file is empty")],
        False,
    )
    assert event_log.read_events(reader, ONE, [name_of(0)]) == [RawEvent(name_of(0), b"", "the file is empty")]


def test_a_file_that_is_gone_or_no_file_has_a_reason(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=3)
    write_event(path, 0).unlink()
    link = write_event(path, 1)
    link.unlink()
    link.symlink_to("/etc/hostname")
    assert reasons(path, [name_of(0), name_of(1), name_of(2)]) == [
        "the file is missing",
        "cannot be opened (Too many levels of symbolic links)",
        None,
    ]


@pytest.mark.parametrize("gone", ["events", "."])
def test_in_a_directory_that_is_gone_every_event_is_unreadable(tmp_path: Path, gone: str) -> None:
    path = make_conversation(tmp_path, events=2)
    (path / gone).resolve().rename(tmp_path / "away")
    reason = "the directory cannot be opened (No such file or directory)"
    assert reasons(path, [name_of(0), name_of(1)]) == [reason, reason]


def test_a_naive_time_is_in_the_reader_s_zone(tmp_path: Path) -> None:
    make_conversation(tmp_path, events=[make_event(0, timestamp="2026-10-01T14:00:00+02:00"), make_event(1)])
    rows, _ = event_log.read_rows(Reader(tmp_path, UTC), ONE, [name_of(0), name_of(1)])
    assert [row.facts.timestamp_us for row in rows] == [NOON_US, NOON_US + 1_000_000]


def test_a_hop_reads_as_many_events_as_fit_and_leaves_a_large_one_unread(tmp_path: Path) -> None:
    directory = make_conversation(tmp_path, events=0)
    third = event_log.HOP_BYTES // 3
    sizes = [third, third, third, event_log.HOP_BYTES * 2, 10]
    for number, size in enumerate(sizes):
        write_event(directory, number, make_event(number) | {"extra": "x" * size})
    reader = Reader(tmp_path, UTC)
    names = [name_of(number) for number in range(len(sizes))]
    hops = []
    while names:
        hop = event_log.read_hop(reader, directory.name, names)
        hops.append([(event.name.seq, event.large, bool(event.raw)) for event in hop])
        names = names[len(hop) :]
    assert hops == [[(0, False, True), (1, False, True)], [(2, False, True)], [(3, True, False)], [(4, False, True)]]


def test_bytes_that_were_checked_are_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_conversation(tmp_path, events=[make_event(number) | {"extra": str(tmp_path)} for number in range(3)])
    parsed: list[bytes] = []

    def parse_counted(raw: bytes) -> dict[str, Any]:
        parsed.append(raw)
        return parse_event(raw)

    monkeypatch.setattr(event_log, "parse_event", parse_counted)
    reader, names = Reader(tmp_path, UTC), [name_of(number) for number in range(3)]
    first = event_log.read_hop(reader, path.name, names)
    assert [len(parsed), event_log.read_hop(reader, path.name, names)] == [3, first]
    torn = path / "events" / event_file_name(name_of(1))
    torn.write_bytes(first[1].raw[:-1] + b" ")
    again = event_log.read_hop(reader, path.name, names)
    assert [event.unreadable is None for event in again] == [True, False, True]
    assert len(parsed) == 4


@pytest.mark.parametrize("twins", [False, True])
def test_names_are_kept_in_log_order_while_the_log_grows(*, twins: bool) -> None:
    names = [EventName(0, "a"), EventName(1, "b"), EventName(2, "a" if twins else "c")]
    known = event_log.LogNames(names)
    known.add(EventName(3, "d"))
    assert [*known] == [*names, EventName(3, "d")]
    assert [*reversed(known)] == [EventName(3, "d"), *reversed(names)]


def test_of_a_long_log_only_the_ends_are_kept_until_more_is_needed() -> None:
    names = [EventName(number, f"id-{number}") for number in range(10)]
    calls: list[int] = []

    def list_names() -> list[EventName]:
        calls.append(1)
        return [*names, EventName(10, "new")]

    known = event_log.LogNames.from_ends(KnownEnds(b"", 10, names[:2], names[-2:]), list_names)
    known.add(EventName(10, "new"))
    assert (len(known), known.next_seq, known.is_gapless, known.is_listed) == (11, 11, True, False)
    assert known.list_ends(2) == (names[:2], [names[9], EventName(10, "new")])
    assert ("id-9" in known, known.find_seq("new"), None in known, calls) == (True, 10, False, [])
    backwards = reversed(known)
    assert [next(backwards) for _ in range(3)] == [EventName(10, "new"), names[9], names[8]]
    assert calls == []
    assert [*backwards] == names[7::-1]
    assert ([*known], "none" in known, known.is_listed, calls) == (list_names(), False, True, [1, 1])
