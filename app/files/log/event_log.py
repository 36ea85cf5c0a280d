"""Reading event files: their facts for the index, their bytes for an answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from app.errors import UnreadableFile
from app.files import layout
from app.files.metadata_reader import Reader
from app.model.event import NO_FACTS, EventRow, event_facts, parse_json_object
from app.model.ids import EventName, event_file_name


class RawEvent(NamedTuple):
    """The bytes of an event's file, or the reason why there are none; `failed`: the system refused, which may pass."""

    name: EventName
    raw: bytes
    unreadable: str | None = None
    failed: bool = False


def list_events(reader: Reader, directory: str) -> list[EventName]:
    """Return the names of a conversation's events in log order; none when it has no readable events/ directory."""
    return find_events(reader, directory) or []


def find_events(reader: Reader, directory: str) -> list[EventName] | None:
    """Return the same, or None when the operating system refused to list them, which may pass."""
    try:
        with layout.open_directory(reader.root / directory) as fd:
            return layout.list_events(fd)
    except UnreadableFile as error:
        return None if error.failed else []
    except OSError as error:
        return None if layout.may_pass(error) else []


def read_rows(reader: Reader, directory: str, names: Iterable[EventName]) -> tuple[list[EventRow], bool]:
    """Read event files and return their rows, and whether the operating system refused any, which may pass.

    A file that cannot be read gets a row with its reason.
    """
    rows: list[EventRow] = []
    refused = False
    for name, raw, unreadable, failed in _read_files(reader, directory, names):
        refused = refused or failed
        facts, reason = NO_FACTS, unreadable
        if reason is None:
            try:
                facts = event_facts(parse_json_object(raw), reader.zone, tools=reader.tools)
            except UnreadableFile as error:
                reason = str(error)
        rows.append(EventRow(name, facts, reason))
    return rows, refused


def read_events(reader: Reader, directory: str, names: Iterable[EventName]) -> list[RawEvent]:
    """Read event files and return their bytes, each checked to be one JSON object."""
    events = []
    for event in _read_files(reader, directory, names):
        if event.unreadable is None:
            try:
                parse_json_object(event.raw)
            except UnreadableFile as error:
                events.append(RawEvent(event.name, b"", str(error)))
                continue
        events.append(event)
    return events


def _read_files(reader: Reader, directory: str, names: Iterable[EventName]) -> Iterator[RawEvent]:
    names = list(names)
    try:
        with (
            layout.open_directory(reader.root / directory) as fd,
            layout.open_directory(layout.EVENTS, fd) as events_fd,
        ):
            for name in names:
                try:
                    yield RawEvent(name, layout.read_file(event_file_name(name), events_fd)[0])
                except FileNotFoundError:
                    yield RawEvent(name, b"", "the file is missing")
                except UnreadableFile as error:
                    yield RawEvent(name, b"", str(error), error.failed)
    except OSError as error:
        for name in names:
            yield RawEvent(
                name, b"", f"the directory cannot be opened ({error.strerror})", failed=layout.may_pass(error)
            )
