"""Conversations as JSON Lines: every file has a line of which its bytes can be taken again."""

from __future__ import annotations

import json

import pytest

from app.model.archive_format import ArchiveFile
from app.model.ids import EventName
from app.model.json_splice import parse_raw_object
from app.model.jsonlines import event_path, file_line, find_event
from tests.builders import make_event

EVENT = "events/event-00000-" + make_event(0)["id"] + ".json"


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b'{"id":"another"}', "json"),
        (b'{"a": 1.50, "b": "\xc3\xa9"}', "json"),
        (b'{\n "pretty": 1}', "text"),
        (b'{"a": 1}\n', "text"),
        (b"", "text"),
        (b'{"torn": "\xc3\xa9', "text"),
        (b"[1]", "text"),
        (b'{"nested deeper than many parsers read": %b%b}' % (b"[" * 1000, b"]" * 1000), "text"),
        (b'{"not nested": "%b"}' % (b"[" * 1000), "json"),
        (b"\xff\x00", "base64"),
        (json.dumps({"id": make_event(0)["id"], "convstore": "end"}).encode(), "json"),
    ],
)
def test_every_file_finds_a_line_that_keeps_its_bytes(raw: bytes, place: str) -> None:
    line = file_line(ArchiveFile(EVENT, raw), 0)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    members = parse_raw_object(line)
    assert list(members.spans) == ["convstore", "name", place]
    if place == "json":
        assert members.find("json") == raw


def test_the_path_of_an_event_says_its_name() -> None:
    name = EventName(7, make_event(0)["id"])
    assert find_event(event_path(name)) == name
    assert find_event(event_path(name).removeprefix("events/")) is None
