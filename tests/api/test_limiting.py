"""How large the body of a request may be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app import Settings
from app.api.middleware import BODY_MAX_BYTES
from tests.api.test_sockets import HEADERS, ONE, listening
from tests.builders import make_conversation
from tests.conftest import serving

MESSAGE = b'{"role": "user", "content": []}'
EVENTS = f"/api/conversations/{ONE}/events"


async def in_pieces(size_bytes: int) -> AsyncIterator[bytes]:
    """Give a body whose size is not announced: a message after much white space."""
    for _ in range((size_bytes - len(MESSAGE)) >> 20):
        yield b" " * (1 << 20)
    yield b" " * ((size_bytes - len(MESSAGE)) % (1 << 20))
    yield MESSAGE


@pytest.mark.parametrize(("size_bytes", "status"), [(BODY_MAX_BYTES, 200), (BODY_MAX_BYTES + 1, 413)])
@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_has_a_limit(root: Path, size_bytes: int, status: int, announced: bool) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        body = b" " * (size_bytes - len(MESSAGE)) + MESSAGE if announced else in_pieces(size_bytes)
        answer = await client.post(EVENTS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.json() == {"success": True} or answer.json()["code"] == "body_too_large"


async def test_a_server_reads_no_further_than_the_limit(root: Path) -> None:
    make_conversation(root)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 4 * BODY_MAX_BYTES:
            sent += 1 << 20
            yield b" " * (1 << 20)

    async with listening(root) as host, httpx.AsyncClient(base_url=f"http://{host}", headers=HEADERS) as client:
        answer = await client.post(EVENTS, content=endless(), timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_an_import_has_a_limit_of_its_own(root: Path) -> None:
    async with serving(Settings(store=root)) as client:
        answer = await client.post("/api/conversations/import", content=in_pieces(BODY_MAX_BYTES + 1))
    assert (answer.status_code, answer.json()["code"]) == (422, "archive_refused")
