"""Several hosts write to one store: each acknowledged write once, in order, and visible to all."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from tests.builders import make_conversation, make_id
from tests.faults.hosts import SHORT, Host, find_generation, running
from tests.postgres import new_schema

pytestmark = [pytest.mark.long, pytest.mark.postgres, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> AsyncIterator[Sequence[Host]]:
    """Two hosts for all tests, because a start takes seconds."""
    pytest.importorskip("psycopg")
    root = tmp_path_factory.mktemp("several") / "conversations"
    for number in range(1, 5):
        make_conversation(root, number)
    with new_schema(postgres_url) as schema:
        async with running(["one", "two"], root, postgres_url, schema, SHORT) as hosts:
            yield hosts


@pytest_asyncio.fixture(loop_scope="module")
async def hosts(servers: Sequence[Host]) -> Sequence[Host]:
    for host in servers:
        if not host.runs:
            await host.start()
    return servers


async def test_hosts_hand_a_conversation_over_and_show_each_others_writes(hosts: Sequence[Host]) -> None:
    for number in range(10):
        answer = await hosts[number % 2].append(1, f"text {number}")
        assert (answer.status_code, "warning" in answer.json()) == (200, False), answer.text
        listed = await hosts[(number + 1) % 2].client.get(
            "/api/messages/search", params={"q": f'"text {number}"', "limit": "1"}
        )
        assert len(listed.json()["items"]) == 1
    assert find_generation(hosts[0].root, 1) == 10
    texts = [f"text {number}" for number in range(10)]
    for host in hosts:
        assert [one for one in await host.list_texts(1) if one.startswith("text ")] == texts
    answers = await asyncio.gather(*(hosts[number % 2].append(1, f"at once {number}") for number in range(12)))
    assert {answer.status_code for answer in answers} == {200}
    shown = [one for one in await hosts[0].list_texts(1) if one.startswith("at once")]
    assert sorted(shown) == sorted(f"at once {number}" for number in range(12))


async def test_another_hosts_write_wakes_who_waits_for_changes_and_events(hosts: Sequence[Host]) -> None:
    one, two = hosts
    assert (await one.append(3, "first")).status_code == 200
    for number in range(3):
        since = None
        while True:  # to the end of the feed
            page = (await two.client.get("/api/changes", params={"since": since} if since else {})).json()
            since = page["next"]
            if not page["more"]:
                break
        waiting = asyncio.create_task(two.client.get("/api/changes", params={"since": since, "wait": "20"}))
        async with two.client.stream("GET", f"/api/conversations/{make_id(3)}/events/stream") as stream:
            lines = stream.aiter_lines()
            async with asyncio.timeout(20):
                while "first" not in await anext(lines):
                    pass
                await asyncio.sleep(0.3)  # so that both wait, and only a message can wake them
                assert (await one.append(3, f"event {number}")).status_code == 200
                while f"event {number}" not in await anext(lines):
                    pass
                assert (await waiting).json()["items"]


async def test_a_host_that_was_stopped_writes_nothing_under_its_old_name(hosts: Sequence[Host]) -> None:
    one, two = hosts
    assert (await one.append(2, "before")).status_code == 200
    one.send(signal.SIGSTOP)
    async with asyncio.timeout(20):
        while (await two.append(2, "after")).status_code != 200:
            await asyncio.sleep(0.1)
    sending = asyncio.create_task(one.append(2, "late"))
    await asyncio.sleep(0.1)
    one.send(signal.SIGCONT)
    late = await sending
    async with asyncio.timeout(20):
        while late.status_code != 200:
            assert late.status_code in {409, 503}, late.text
            await asyncio.sleep(0.1)
            late = await one.append(2, "late")
    assert (await two.list_texts(2))[-3:] == ["before", "after", "late"]
    assert "goes on under another name" in one.read_log()
    assert (await two.append(2, "again")).status_code == 200
    assert find_generation(one.root, 2) == 4
    for host in hosts:
        assert (await host.list_texts(2))[-4:] == ["before", "after", "late", "again"]


async def test_a_dead_hosts_conversation_is_taken_over(hosts: Sequence[Host]) -> None:
    one, two = hosts
    assert (await one.append(4, "before")).status_code == 200
    await one.end(signal.SIGKILL)
    assert (await two.append(4, "too early")).status_code == 409
    async with asyncio.timeout(20):
        while (answer := await two.append(4, "after")).status_code == 409:
            await asyncio.sleep(0.1)
    assert answer.status_code == 200, answer.text
    assert (await two.list_texts(4))[-2:] == ["before", "after"]
