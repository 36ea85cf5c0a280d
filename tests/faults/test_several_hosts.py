"""Several hosts write to one store: each acknowledged write once, in order, and visible to all."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.builders import make_conversation, make_id
from tests.faults.hosts import SHORT, Host, find_generation, running

STREAM = f"/api/conversations/{make_id(1)}/events/stream"

pytestmark = [pytest.mark.long, pytest.mark.postgres]


@pytest.fixture
async def hosts(root: Path, postgres_url: str, schema: str) -> AsyncIterator[list[Host]]:
    pytest.importorskip("psycopg")
    for number in (1, 2):
        make_conversation(root, number)
    async with running(["one", "two"], root, postgres_url, schema, SHORT) as hosts:
        yield hosts


async def test_hosts_hand_a_conversation_over_and_show_each_others_writes(hosts: list[Host], root: Path) -> None:
    took = []
    for number in range(10):
        began = time.monotonic()
        answer = await hosts[number % 2].append(1, f"text {number}")
        took.append(time.monotonic() - began)
        assert (answer.status_code, "warning" in answer.json()) == (200, False), answer.text
        listed = await hosts[(number + 1) % 2].client.get(
            "/api/messages/search", params={"q": f'"text {number}"', "limit": "1"}
        )
        assert len(listed.json()["items"]) == 1
    print("hand-overs:", [f"{one:.3f}" for one in took])
    assert find_generation(root, 1) == 10
    texts = [f"text {number}" for number in range(10)]
    for host in hosts:
        assert [one for one in await host.list_texts(1) if one.startswith("text ")] == texts
    answers = await asyncio.gather(*(hosts[number % 2].append(1, f"at once {number}") for number in range(12)))
    assert {answer.status_code for answer in answers} == {200}
    shown = [one for one in await hosts[0].list_texts(1) if one.startswith("at once")]
    assert sorted(shown) == sorted(f"at once {number}" for number in range(12))


async def test_a_dead_hosts_conversation_is_taken_over(hosts: list[Host]) -> None:
    one, two = hosts
    assert (await one.append(1, "before")).status_code == 200
    await one.end(signal.SIGKILL)
    began = time.monotonic()
    assert (await two.append(1, "too early")).status_code == 409
    async with asyncio.timeout(20):
        while (answer := await two.append(1, "after")).status_code == 409:
            await asyncio.sleep(0.1)
    assert answer.status_code == 200, answer.text
    assert 2 < time.monotonic() - began < 8
    assert (await two.list_texts(1))[-2:] == ["before", "after"]


async def test_a_host_that_was_stopped_writes_nothing_under_its_old_name(hosts: list[Host], root: Path) -> None:
    one, two = hosts
    assert (await one.append(1, "before")).status_code == 200
    one.send(signal.SIGSTOP)
    async with asyncio.timeout(20):
        while (await two.append(1, "after")).status_code != 200:
            await asyncio.sleep(0.1)
    sending = asyncio.create_task(one.append(1, "late"))
    await asyncio.sleep(0.1)
    one.send(signal.SIGCONT)
    late = await sending
    async with asyncio.timeout(20):
        while late.status_code != 200:
            assert late.status_code in {409, 503}, late.text
            await asyncio.sleep(0.1)
            late = await one.append(1, "late")
    assert (await two.list_texts(1))[-3:] == ["before", "after", "late"]
    assert "goes on under another name" in one.read_log()
    assert (await two.append(1, "again")).status_code == 200
    assert find_generation(root, 1) == 4
    for host in hosts:
        assert (await host.list_texts(1))[-4:] == ["before", "after", "late", "again"]


async def test_another_hosts_write_wakes_who_waits_for_changes_and_events(hosts: list[Host]) -> None:
    one, two = hosts
    assert (await one.append(1, "first")).status_code == 200
    took = []
    for number in range(5):
        since = None
        while True:  # to the end of the feed
            page = (await two.client.get("/api/changes", params={"since": since} if since else {})).json()
            since = page["next"]
            if not page["more"]:
                break
        waiting = asyncio.create_task(two.client.get("/api/changes", params={"since": since, "wait": "20"}))
        async with two.client.stream("GET", STREAM) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            await asyncio.sleep(0.3)  # both wait now; a poll would come at any time
            assert (await one.append(1, f"event {number}")).status_code == 200
            began = time.monotonic()
            async with asyncio.timeout(20):
                async for line in lines:
                    if f"event {number}" in line:
                        break
                assert (await waiting).json()["items"]
        took.append(time.monotonic() - began)
    assert sorted(took)[len(took) // 2] < 0.15, took  # a poll alone takes 0.25 s in the mean
