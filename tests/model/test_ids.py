from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidId
from app.model.ids import (
    EventName,
    dashed,
    event_file_name,
    find_conversation_id,
    find_event_name,
    parse_conversation_id,
    sort_event_names,
)

HEX = "45685019b9b6446bbd2d1e96d93e73eb"
DASHED = "45685019-b9b6-446b-bd2d-1e96d93e73eb"
ARABIC_ZERO = "\u0660"
EVENT = "5a10bd1c-e0ef-4ebd-9a94-7f3bdda20318"


@pytest.mark.parametrize("text", [HEX, DASHED, HEX.upper(), DASHED.upper()])
def test_an_id_is_read_in_every_spelling(text: str) -> None:
    assert find_conversation_id(text) == HEX
    assert parse_conversation_id(text) == HEX


AROUND = ("{}\n", " {}\t", "{{{}}}", "<{}>", "urn:uuid:{}", "{}/", '"{}"', "'{}/'")
PASTED = [around.format(one) for around in AROUND for one in (HEX, DASHED)]


@pytest.mark.parametrize("text", PASTED)
def test_a_pasted_id_is_understood_and_is_no_name_of_a_directory(text: str) -> None:
    assert parse_conversation_id(text) == HEX
    assert find_conversation_id(text) is None


@pytest.mark.parametrize(
    "text",
    ["", HEX[:-1], f"{HEX}0", f"{HEX} 0", f"{{{DASHED}", f"/{HEX}", f"urn:{DASHED}", DASHED[:-1],
     HEX.replace("4", "g"), DASHED.replace("-", "_"), f"4568-5019{HEX[8:]}", "../" + HEX, ".trash",
     HEX.replace("4", "\u0664")],
)  # fmt: skip
def test_what_is_no_id_is_refused(text: str) -> None:
    assert find_conversation_id(text) is None
    with pytest.raises(InvalidId, match="is not a conversation id"):
        parse_conversation_id(text)


def test_a_message_about_an_id_is_bounded() -> None:
    with pytest.raises(InvalidId) as caught:
        parse_conversation_id("x" * 10_000)
    assert len(str(caught.value)) < 200


@given(st.uuids())
def test_dashes_come_and_go(one: uuid.UUID) -> None:
    assert dashed(one.hex) == str(one)
    assert parse_conversation_id(str(one)) == one.hex


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        (f"event-00000-{EVENT}.json", EventName(0, EVENT)),
        (f"event-99999-{EVENT}.json", EventName(99_999, EVENT)),
        (f"event-100000-{EVENT}.json", EventName(100_000, EVENT)),
        (f"event-123456789-{EVENT}.json", EventName(123_456_789, EVENT)),
        ("event-00001-ABCDEF01.json", EventName(1, "ABCDEF01")),
        ("event-00001-abc-def-.json", EventName(1, "abc-def-")),
    ],
)
def test_an_event_s_name_says_its_place_and_id(file_name: str, expected: EventName) -> None:
    assert find_event_name(file_name) == expected
    assert event_file_name(expected) == file_name


@pytest.mark.parametrize(
    "file_name",
    [f"event-0000-{EVENT}.json", f"event-000001-{EVENT}.json", f"event-1{'0' * 18}-{EVENT}.json",
     "event-00000-abc.json",
     f"event-00000-{EVENT}.json.tmp", f".event-00000-{EVENT}.json.x.tmp",
     f"event-00000-{EVENT}.json\n", "meta.json",
     f"Event-00000-{EVENT}.json", f"event-{ARABIC_ZERO * 5}-{EVENT}.json", ".eventlog.lock", ".eventlog-len-3.marker",
     "event-00000-../../../../etc.json"],
)  # fmt: skip
def test_other_names_are_no_events(file_name: str) -> None:
    assert find_event_name(file_name) is None
    assert sort_event_names([f"event-00000-{EVENT}.json", file_name]) == [EventName(0, EVENT)]


@given(st.integers(0, 10**18 - 1), st.from_regex(r"[0-9a-fA-F-]{8,40}", fullmatch=True))
def test_every_place_and_id_has_a_name_that_says_them(seq: int, event_id: str) -> None:
    name = EventName(seq, event_id)
    assert find_event_name(event_file_name(name)) == name
    later = EventName(seq, f"{event_id}0")
    assert sort_event_names(map(event_file_name, (later, name))) == [name, later]


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_names_sort_by_number_and_not_by_text(one: int, other: int) -> None:
    assert (EventName(one, "a") < EventName(other, "a")) == (one < other)
