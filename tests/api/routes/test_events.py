"""The events of one conversation over HTTP."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from app import Settings
from app.files.log.event_log import HOP_BYTES
from app.model.filters import EventFilter, digest
from app.model.ids import ConversationId
from app.model.page import Cursor, EventOrder, encode_token
from tests.api.clients import error_lines, http_client, listening, read_stream, unreadable, walk_pages
from tests.builders import make_conversation, make_event, make_id, make_message_event, write_event
from tests.conftest import PACKAGE, StoreOpener, serving

ONE = f"/api/conversations/{make_id(1)}"
SEARCH = f"{ONE}/events/search"
COUNT = f"{ONE}/events/count"


LOG = [
    make_event(0, kind="SystemPromptEvent", source="agent"),
    make_message_event(1, "Please FIX the parser"),
    make_event(2, kind="ActionEvent", source="agent", tool_name="terminal", action={"command": "fix"}),
    make_event(3, kind="ObservationEvent", source="environment", tool_name="terminal"),
    make_message_event(4, "It is done", source="agent"),
    make_event(5, kind="ConversationStateUpdateEvent", source="environment"),
    make_message_event(6, "thanks", source="user", extended_content=[{"type": "text", "text": "a prefix"}]),
]


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    make_conversation(root, events=LOG)
    async with serving(Settings(store=root, timezone="UTC")) as client:
        yield client


async def numbers(client: httpx.AsyncClient, **params: Any) -> list[int]:
    """Return the places in the log of the events of all pages."""
    places = {event["id"]: place for place, event in enumerate(LOG)}
    return [places[event["id"]] async for page in walk_pages(client, SEARCH, **params) for event in page["items"]]


@pytest.mark.parametrize("limit", [1, 2, 6, 7, 100])
async def test_pages_follow_the_log_or_its_reverse(client: httpx.AsyncClient, limit: int) -> None:
    assert await numbers(client, limit=limit) == [0, 1, 2, 3, 4, 5, 6]
    assert await numbers(client, limit=limit, sort_order="TIMESTAMP_DESC") == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"kind": "MessageEvent"}, [1, 4, 6]),
        ({"kind": "openhands.sdk.event.llm_convertible.message.MessageEvent"}, [1, 4, 6]),
        ({"kind": "Message"}, []),
        ({"source": "agent"}, [0, 2, 4]),
        ({"source": "agent", "kind": "MessageEvent"}, [4]),
        ({"body": "fix"}, [1, 6]),
        ({"body": "FIX the"}, [1]),
        ({"body": "fix", "kind": "ActionEvent"}, []),
        ({"body": "%"}, []),
        ({"body": "i", "source": "agent"}, [4]),
        ({"timestamp__gte": "2026-10-01T12:00:03"}, [3, 4, 5, 6]),
        ({"timestamp__lt": "2026-10-01T12:00:03"}, [0, 1, 2]),
        ({"timestamp__gte": "2026-10-01T14:00:02+02:00", "timestamp__lt": "2026-10-01T12:00:04Z"}, [2, 3]),
    ],
)
async def test_filters_hold_for_list_and_count(
    client: httpx.AsyncClient, asked: dict[str, str], expected: list[int], limit: int
) -> None:
    assert await numbers(client, limit=limit, **asked) == expected
    assert (await client.get(COUNT, params=asked)).json() == len(expected)


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"])
async def test_the_first_and_last_times_are_times(root: Path, time: str) -> None:
    make_conversation(root, events=LOG)
    async with serving(Settings(store=root)) as client:
        before = await client.get(COUNT, params={"timestamp__lt": time})
        after = await client.get(COUNT, params={"timestamp__gte": time})
    assert sorted([before.json(), after.json()]) == [0, 7]


async def test_a_naive_time_is_in_the_zone_of_the_server(root: Path) -> None:
    make_conversation(root, events=LOG)
    async with serving(Settings(store=root, timezone="Asia/Tokyo")) as client:
        assert (await client.get(COUNT, params={"timestamp__lt": "2026-10-01T12:00:03"})).json() == 3
        assert (await client.get(COUNT, params={"timestamp__lt": "2026-10-01T03:00:03Z"})).json() == 3


async def test_an_event_is_exactly_the_bytes_of_its_file(root: Path) -> None:
    raw = b'{ "id" : "x",\n "kind":"X", "n":1.10e2, "text":"\\u00e9\\/", "big": 123456789012345678901234567890 }'
    path = make_conversation(root, events=0)
    write_event(path, 0).write_bytes(raw)
    async with serving(Settings(store=root)) as client:
        assert (await client.get(f"{ONE}/events/{make_event(0)['id']}")).content == raw
        assert (await client.get(SEARCH)).content == b'{"items":[%b],"next_page_id":null}' % raw


@pytest.mark.parametrize("order", ["TIMESTAMP", "TIMESTAMP_DESC"])
async def test_what_cannot_be_served_is_told_once_on_the_page_where_it_lies(root: Path, order: str) -> None:
    path = make_conversation(root, events=8)
    write_event(path, 2).write_text("torn")
    write_event(path, 5).unlink()
    told: list[tuple[int, bool]] = []
    served = 0
    async with serving(Settings(store=root)) as client:
        async for page in walk_pages(client, SEARCH, limit=2, sort_order=order):
            served += len(page["items"])
            told += [(bad["seq"], bad["event_id"] is None) for bad in page.get("unreadable", [])]
        counted = (await client.get(COUNT)).json()
    assert (served, counted) == (6, 6)
    assert told == sorted([(2, False), (5, True)], reverse=order == "TIMESTAMP_DESC")


async def test_all_unreadable_events_are_told(root: Path) -> None:
    path = make_conversation(root, events=150)
    for number in range(150):
        write_event(path, number).write_bytes(b"")
    async with serving(Settings(store=root)) as client:
        page = (await client.get(SEARCH)).json()
    assert (page["items"], len(page["unreadable"])) == ([], 150)


async def test_a_page_without_unreadable_events_says_nothing_of_them(client: httpx.AsyncClient) -> None:
    assert (await client.get(SEARCH)).json().keys() == {"items", "next_page_id"}


async def test_an_unreadable_event_is_404_with_the_reason(root: Path) -> None:
    write_event(make_conversation(root), 1).write_bytes(b"")
    async with serving(Settings(store=root)) as client:
        answer = await client.get(f"{ONE}/events/{make_event(1)['id']}")
    detail = f"event {make_event(1)['id']} cannot be served: the file is empty"
    assert (answer.status_code, answer.json()) == (404, {"detail": detail, "code": "event_not_found"})


async def test_of_two_files_with_one_id_the_first_is_the_event(root: Path) -> None:
    twin = make_event(0) | {"kind": "Twin"}
    make_conversation(root, events=[make_event(0), make_event(1), twin])
    async with serving(Settings(store=root)) as client:
        assert (await client.get(f"{ONE}/events/{make_event(0)['id']}")).json() == make_event(0)


@pytest.mark.parametrize("event_id", ["meta", "..%2Fmeta", "%00", "event-00000", "x" * 5000, "%F0%9F%A6%86"])
async def test_an_id_that_no_event_has_is_404(client: httpx.AsyncClient, event_id: str) -> None:
    assert (await client.get(f"{ONE}/events/{event_id}")).status_code == 404


@pytest.mark.parametrize("order", EventOrder)
@pytest.mark.parametrize("key", [2**63 - 1, -(2**63)])
async def test_a_token_with_the_largest_or_smallest_key_is_no_error(
    client: httpx.AsyncClient, order: EventOrder, key: int
) -> None:
    token = encode_token(Cursor(key, "x"), digest(order, EventFilter(), scope=make_id(1)))
    answer = await client.get(SEARCH, params={"sort_order": order, "page_id": token})
    assert answer.status_code == 200


async def test_an_event_that_was_just_written_is_served_and_counted(client: httpx.AsyncClient, root: Path) -> None:
    write_event(root / make_id(1), 7, fresh := make_event(7))
    assert (await client.get(COUNT)).json() == 8
    assert (await client.get(SEARCH, params={"limit": 1, "sort_order": "TIMESTAMP_DESC"})).json()["items"] == [fresh]


async def test_counting_by_text_keeps_one_batch_of_messages_at_a_time(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, events=[make_message_event(number, f"{number}" + "x" * 20_000) for number in range(1000)])
    async with open_store(root) as store:
        tracemalloc.start()
        try:
            count = await store.count_events(ConversationId(make_id(1)), EventFilter(body="x"))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert count == 1000
    assert most < 10_000_000


async def test_events_are_json_for_every_client(client: httpx.AsyncClient) -> None:
    answer = await client.get(SEARCH)
    assert answer.headers["Content-Type"] == "application/json"
    assert orjson.loads(answer.content)["items"] == LOG


async def test_the_stream_goes_from_replay_to_live_without_a_seam(root: Path) -> None:
    directory = make_conversation(root, events=3)
    async with (
        listening(root) as host,
        http_client(host) as client,
        client.stream("GET", f"{ONE}/events/stream") as response,
    ):
        write_event(directory, 3)
        got = await read_stream(response, 4)
    assert got == [(make_event(number)["id"], make_event(number)) for number in range(4)]
    assert response.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("how", ["header", "parameter"])
async def test_the_stream_goes_on_after_the_last_event_that_a_client_has(root: Path, how: str) -> None:
    make_conversation(root, events=5)
    seen = make_event(2)["id"]
    asked: dict[str, Any] = {"headers": {"Last-Event-ID": seen}} if how == "header" else {"params": {"after": seen}}
    async with (
        listening(root) as host,
        http_client(host) as client,
        client.stream("GET", f"{ONE}/events/stream", **asked) as response,
    ):
        got = await read_stream(response, 2)
    assert [data for _, data in got] == [make_event(3), make_event(4)]


async def test_the_stream_can_begin_with_what_comes(root: Path) -> None:
    directory = make_conversation(root, events=5)
    async with (
        listening(root) as host,
        http_client(host) as client,
        client.stream("GET", f"{ONE}/events/stream?after=latest") as response,
    ):
        write_event(directory, 5)
        assert [data for _, data in await read_stream(response, 1)] == [make_event(5)]


async def test_the_stream_can_have_the_numbers_of_events(root: Path) -> None:
    make_conversation(root, events=[make_event(0), make_event(1, extra="x" * HOP_BYTES), make_event(2)])
    async with (
        listening(root) as host,
        http_client(host) as client,
        client.stream("GET", f"{ONE}/events/stream?numbered=true") as response,
    ):
        got = await read_stream(response, 3)
    assert [(name, data["seq"]) for name, data in got] == [(make_event(seq)["id"], seq) for seq in range(3)]
    assert [data["event"]["id"] for _, data in got] == [name for name, _ in got]


@pytest.mark.parametrize(("conversation", "after"), [(make_id(9), None), (make_id(1), "unknown")])
async def test_a_stream_of_nothing_is_404(root: Path, conversation: str, after: str | None) -> None:
    make_conversation(root)
    params = {"after": after} if after else {}
    async with listening(root) as host, http_client(host) as client:
        answer = await client.get(f"/api/conversations/{conversation}/events/stream", params=params)
    assert answer.status_code == 404


async def test_one_stream_too_many_is_503(root: Path) -> None:
    make_conversation(root)
    async with (
        listening(root, followers=0) as host,
        http_client(host) as client,
    ):
        answer = await client.get(f"{ONE}/events/stream")
    assert (answer.status_code, answer.json()["code"]) == (503, "too_many_followers")


async def test_a_stream_ends_with_its_conversation(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_conversation(root)
    async with (
        listening(root) as host,
        http_client(host) as client,
        client.stream("GET", f"{ONE}/events/stream") as response,
    ):
        lines = response.aiter_lines()
        await anext(lines)
        assert (await client.delete(ONE)).is_success
        async with asyncio.timeout(60):
            assert [line async for line in lines]
    assert error_lines(caplog) == []


async def test_a_stream_ends_at_an_error_of_the_store(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_conversation(root)
    async with (
        listening(root) as host,
        http_client(host) as client,
        client.stream("GET", f"{ONE}/events/stream") as response,
    ):
        lines = response.aiter_lines()
        await anext(lines)
        with unreadable(root):
            async with asyncio.timeout(60):
                assert [line async for line in lines]
    assert [record.levelname for record in caplog.records if record.name == f"{PACKAGE}.api.responses"] == ["WARNING"]
    assert error_lines(caplog) == []


@pytest.mark.parametrize("event", [{"source": []}, {"source": {}}, {"text": "\ud800"}, {"parent_id": "\ud800"}])
async def test_an_event_that_cannot_be_is_refused(root: Path, event: dict[str, Any]) -> None:
    make_conversation(root)
    body = json.dumps({"events": [make_event(7) | event]})
    async with serving(Settings(store=root)) as client:
        answer = await client.post(f"{ONE}/events/batch", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_event")
        assert (await client.get(ONE)).json()["event_count"] == 2


async def test_a_message_that_agent_server_would_not_read_is_refused(root: Path) -> None:
    path = make_conversation(root)
    async with serving(Settings(store=root)) as client:
        for part in (
            {"type": "text"},
            {"type": "image"},
            {"type": "image", "text": "a"},
            {"type": "video", "text": "a"},
        ):
            assert (await client.post(f"{ONE}/events", json={"content": [part]})).status_code == 422
        image = {"content": [{"type": "image", "image_urls": ["data:image/png;base64,"]}]}
        assert (await client.post(f"{ONE}/events", json=image)).status_code == 200
    assert len(list((path / "events").glob("event-*"))) == 3


async def test_a_message_is_appended_and_running_is_refused(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        body = {"role": "user", "content": [{"type": "text", "text": "more", "cache_prompt": True}], "sender": "me"}
        assert (await client.post(f"{ONE}/events", json=body)).json()["success"] is True
        last = (await client.get(f"{ONE}/events/search?sort_order=TIMESTAMP_DESC&limit=1")).json()["items"][0]
        assert (last["kind"], last["source"], last["parent_id"]) == ("MessageEvent", "user", make_event(1)["id"])
        refused = await client.post(f"{ONE}/events", json=body | {"run": True})
        assert (refused.status_code, refused.json()["code"]) == (501, "needs_agent")
        assert (await client.get(f"{ONE}/events/count")).json() == 3


async def test_a_window_has_the_events_around_one_with_their_numbers(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"{ONE}/events/window", params={"around": 3, "before": 1, "after": 2})
    body = answer.json()
    assert [(item["seq"], item["event"]["id"]) for item in body["items"]] == [
        (seq, LOG[seq]["id"]) for seq in (2, 3, 4, 5)
    ]
    assert (body["first"], body["last"], body["count"], body["unreadable"]) == (2, 5, 7, [])
    by_id = await client.get(f"{ONE}/events/window", params={"around": LOG[3]["id"], "before": 1, "after": 2})
    assert by_id.content == answer.content


@pytest.mark.parametrize(("around", "numbers"), [(0, [0, 1]), (1, [0, 1, 2]), (6, [5, 6]), (7, [6]), (50, [])], ids=str)
async def test_a_window_ends_with_the_log(client: httpx.AsyncClient, around: int, numbers: list[int]) -> None:
    answer = await client.get(f"{ONE}/events/window", params={"around": around, "before": 1, "after": 1})
    assert [item["seq"] for item in answer.json()["items"]] == numbers


async def test_a_window_ends_at_its_size_but_has_one_event(client: httpx.AsyncClient) -> None:
    small = await client.get(f"{ONE}/events/window", params={"around": 3, "before": 3, "max_bytes": 1})
    assert [item["seq"] for item in small.json()["items"]] == [0]
    assert small.json()["last"] == 0


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [({}, [*range(7)]), ({"from": 2, "limit": 3}, [2, 3, 4]), ({"from": 6}, [6]), ({"from": 7}, [])],
)
async def test_a_window_begins_at_a_number(
    client: httpx.AsyncClient, asked: dict[str, int], numbers: list[int]
) -> None:
    answer = await client.get(f"{ONE}/events/window", params=asked)
    assert [item["seq"] for item in answer.json()["items"]] == numbers


@pytest.mark.parametrize("event_id", ["12345678", "12345678901"])
async def test_an_id_of_digits_is_looked_for_before_a_number(
    client: httpx.AsyncClient, root: Path, event_id: str
) -> None:
    write_event(root / make_id(1), 7, make_event(7, id=event_id))
    for around, found in ((event_id, [7]), ("7", [7]), (f"{event_id}0", [])):
        answer = await client.get(f"{ONE}/events/window", params={"around": around, "before": 0, "after": 0})
        assert [item["seq"] for item in answer.json()["items"]] == found


async def test_windows_and_asked_events_of_any_size_are_sent_whole(root: Path) -> None:
    """The second event is large, the third is large and torn, the fourth is missing."""
    path = make_conversation(root, events=5)
    large = write_event(path, 1, make_event(1, extra="x" * HOP_BYTES))
    write_event(path, 2, make_event(2, extra="x" * HOP_BYTES))
    async with serving(Settings(store=root)) as client:
        assert (await client.get(COUNT)).json() == 5
        (torn := path / "events" / f"event-00002-{make_event(2)['id']}.json").write_bytes(torn.read_bytes()[:-1])
        next((path / "events").glob("event-00003-*")).unlink()
        window = (await client.get(f"{ONE}/events/window", params={"around": 0, "max_bytes": 64 << 20})).json()
        assert [item["event"] for item in window["items"]] == [
            make_event(0),
            json.loads(large.read_text()),
            make_event(4),
        ]
        assert [item["seq"] for item in window["items"]] == [0, 1, 4]
        assert [one["seq"] for one in window["unreadable"]] == [2, 3]
        small = (await client.get(f"{ONE}/events/window", params={"around": 0, "max_bytes": 1000})).json()
        assert ([item["seq"] for item in small["items"]], small["last"]) == ([0], 0)
        ids = [make_event(number)["id"] for number in (4, 1, 2, 3, 9, 1, 0)]
        found = (await client.request("GET", f"{ONE}/events", json=ids)).json()
        assert found == [make_event(4), json.loads(large.read_text()), None, None, None, found[1], make_event(0)]


async def test_an_event_that_is_larger_than_its_window_has_its_long_texts_cut(root: Path) -> None:
    path = make_conversation(root, events=[make_message_event(0, "\n".join(f"line {n}" for n in range(5000)))])
    write_event(path, 1).write_text(f'{{"kind": "{"x" * 9000}')
    async with serving(Settings(store=root)) as client:
        asked = {"around": 0, "before": 0, "after": 0}
        cut = (await client.get(f"{ONE}/events/window", params=asked | {"max_bytes": 2000})).json()
        whole = (await client.get(f"{ONE}/events/window", params=asked)).json()
        torn = (await client.get(f"{ONE}/events/window", params={"from": 1, "max_bytes": 2000})).json()
    [file] = (path / "events").glob("event-00000-*")
    assert whole["items"] == [{"seq": 0, "event": json.loads(file.read_text()), "truncated_bytes": 0}]
    [item] = cut["items"]
    [shown] = item["event"]["llm_message"]["content"]
    assert shown["text"].startswith("line 0\nline 1\n")
    assert shown["text"].endswith("\nline 4999")
    assert "\n…\n" in shown["text"]
    sent = len(orjson.dumps(item["event"]))
    assert 1000 < sent <= 2000
    assert item["truncated_bytes"] == file.stat().st_size - sent
    assert (cut["first"], cut["last"], cut["count"]) == (0, 0, 2)
    assert (torn["items"], [one["seq"] for one in torn["unreadable"]]) == ([], [1])


async def test_a_window_names_an_unreadable_event(client: httpx.AsyncClient, root: Path) -> None:
    write_event(root / make_id(1), 7).write_text("torn {")
    answer = (await client.get(f"{ONE}/events/window", params={"around": 7, "before": 1, "after": 0})).json()
    assert [item["seq"] for item in answer["items"]] == [6]
    assert [one["seq"] for one in answer["unreadable"]] == [7]


async def test_an_unknown_event_has_no_window(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{ONE}/events/window", params={"around": "none"})).status_code == 404


async def test_the_outline_is_served(client: httpx.AsyncClient) -> None:
    outline = (await client.get(f"{ONE}/outline")).json()
    assert (outline["total"], outline["last_seq"]) == (7, 6)
    assert [turn["seq"] for turn in outline["turns"]] == [1, 6]


async def test_several_events_are_found_by_their_ids_in_the_order_asked(client: httpx.AsyncClient, root: Path) -> None:
    next((root / make_id(1) / "events").glob("event-00002-*")).write_text("{")
    asked = [LOG[3]["id"], "none", LOG[0]["id"], LOG[2]["id"], LOG[3]["id"]]
    answer = await client.request("GET", f"{ONE}/events", json=asked)
    assert (answer.status_code, answer.json()) == (200, [LOG[3], None, LOG[0], None, LOG[3]])
    assert (await client.request("GET", f"{ONE}/events", json=[])).json() == []
    assert (await client.request("GET", f"{ONE}/events")).status_code == 422
    assert (await client.request("GET", f"{ONE}/events", json=["a"] * 1001)).status_code == 422
    missing = await client.request("GET", f"/api/conversations/{make_id(9)}/events", json=asked)
    assert missing.status_code == 404


async def test_an_image_of_an_event_has_the_type_of_its_bytes(root: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"x" * 9000
    urls = [f"data:image/svg+xml;base64,{b64encode(data).decode()}" for data in (png, b"<svg/>")]
    content = [{"type": "image", "image_urls": urls}]
    events = [
        make_event(0, llm_message={"role": "user", "content": content}),
        make_event(1, kind="ObservationEvent", observation={"content": content}),
    ]
    make_conversation(root, events=events)
    async with serving(Settings(store=root)) as client:
        for event in events:
            path = f"/api/conversations/{make_id(1)}/events/{event['id']}/images"
            answer = await client.get(f"{path}/0")
            assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, png, "image/png")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert [(await client.get(f"{path}/{number}")).status_code for number in (1, 2)] == [404, 404]
        html = (await client.get(f"/ui/c/{make_id(1)}/events?from=0")).text
    assert f'data-image="/api/conversations/{make_id(1)}/events/{events[0]["id"]}/images/0"' in html
    assert "base64" not in html.split('data-seq="1"')[0]
