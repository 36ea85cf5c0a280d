"""Messages between processes: each is heard by all, in order, and again after the server was away."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from app import Settings
from app.index.postgres.notices import Notices
from app.index.postgres.server import parse_server

pytestmark = [pytest.mark.long, pytest.mark.postgres]


async def test_all_processes_hear_a_message_also_after_a_lost_connection(settings: Settings) -> None:
    server = parse_server(settings.index_url or "", settings.index_schema)
    heard: list[list[str]] = [[], []]
    both = [Notices(server), Notices(server)]
    both[0].send("before anybody listens")
    for notices, into in zip(both, heard, strict=True):
        notices.listen(into.append)
    try:
        for text in ("first", 'it\'s "quoted" \u00e4'):
            await until_heard(both[0], text, heard)
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'convstore' AND pid <> pg_backend_pid()"
            )
        await until_heard(both[1], "later", heard)
    finally:
        for notices in both:
            await notices.close()
    assert "before anybody listens" not in heard[1]


async def until_heard(notices: Notices, text: str, heard: list[list[str]]) -> None:
    async with asyncio.timeout(30):
        while not all(text in one for one in heard):
            notices.send(text)
            await asyncio.sleep(0.05)
