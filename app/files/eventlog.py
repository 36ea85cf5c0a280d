"""Reading event files: their facts for the index, their bytes for an answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from app.errors import UnreadableFile
from app.files import layout
from app.files.scan import Reader
from app.model.event import NO_FACTS, EventRow, event_facts, parse_json_object
from app.model.ids import EventName, event_file_name


class RawEvent(NamedTuple):
    """The bytes of an event's file, or the reason why there are none."""

    name: EventName
    raw: bytes
    unreadable: str | None = None


def list_events(reader: Reader, directory: str) -> list[EventName]:
    """Return the names of a conversation's events in log order; none when it has no readable events/ directory."""
    try:
        with layout.open_directory(reader.root / directory) as fd:
            return layout.list_events(fd)
    except (OSError, UnreadableFile):
        return []


def read_rows(reader: Reader, directory: str, names: Iterable[EventName]) -> list[EventRow]:
    """Read event files and return their rows; a file that cannot be read gets a row with its reason."""
    rows: list[EventRow] = []
    for name, raw, unreadable in _read_files(reader, directory, names):
        facts, reason = NO_FACTS, unreadable
        if reason is None:
            try:
                facts = event_facts(parse_json_object(raw), reader.zone)
            except UnreadableFile as error:
                reason = str(error)
        rows.append(EventRow(name, facts, reason))
    return rows


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
                    yield RawEvent(name, b"", str(error))
    except OSError as error:
        for name in names:
            yield RawEvent(name, b"", f"the directory cannot be opened ({error.strerror})")
