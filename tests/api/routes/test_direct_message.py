"""A message that goes directly to its endpoint is answered, counted and written as by the FastAPI route."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.builders import make_id

HELLO = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
ONE = f"/api/conversations/{make_id(1)}/events"
DIRECT = {"Content-Type": "application/json"}
BY_FASTAPI = {"Content-Type": "application/json; charset=utf-8"}

CASES: list[tuple[str, bytes, int]] = [
    (ONE, orjson.dumps(HELLO), 200),
    (ONE, orjson.dumps({**HELLO, "run": False, "unknown": 1}), 200),
    (ONE, b"{}", 200),
    (ONE, orjson.dumps({"role": "assistant", "content": [{"type": "image", "image_urls": ["x"]}]}), 200),
    (f"{ONE}?unknown=1", orjson.dumps(HELLO), 200),
    (ONE, orjson.dumps({**HELLO, "run": True}), 501),
    (ONE, orjson.dumps({**HELLO, "role": "nobody"}), 422),
    (ONE, orjson.dumps({"content": [{"text": "hello", "colour": "red"}]}), 422),
    (ONE, b'{"content": [{"text": NaN}]}', 422),
    (ONE, b"[]", 422),
    (ONE, b"{", 422),
    (ONE, b"", 422),
    (f"/api/conversations/{make_id(9)}/events", orjson.dumps(HELLO), 404),
    (f"/api/conversations/{'-' * 32}/events", orjson.dumps(HELLO), 422),
]


@pytest.mark.parametrize(("path", "body", "status"), CASES)
async def test_both_ways_answer_alike(client: httpx.AsyncClient, path: str, body: bytes, status: int) -> None:
    direct, other = [await client.post(path, content=body, headers=headers) for headers in (DIRECT, BY_FASTAPI)]
    assert direct.status_code == status
    assert (direct.status_code, direct.content, direct.headers["content-type"]) == (
        other.status_code,
        other.content,
        other.headers["content-type"],
    )


async def test_both_ways_write_and_count_alike(client: httpx.AsyncClient, root: Path) -> None:
    for headers in (DIRECT, BY_FASTAPI):
        await client.post(ONE, content=orjson.dumps(HELLO), headers=headers)
    written = [orjson.loads(path.read_bytes()) for path in sorted((root / make_id(1) / "events").glob("*.json"))]
    one, other = [_without_names(event) for event in written[-2:]]
    assert one == other
    metrics = (await client.get("/metrics")).text
    label = 'method="POST",route="/api/conversations/{conversation_id}/events",status="200"'
    assert any(label in line and line.endswith(" 2.0") for line in metrics.splitlines())


def _without_names(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in ("id", "timestamp", "parent_id")}


@pytest.mark.parametrize("headers", [DIRECT, BY_FASTAPI])
async def test_a_message_whose_client_left_is_not_counted_as_done(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    received: Iterator[dict[str, Any]] = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> dict[str, Any]:
        return next(received)

    async def send(_: object) -> None:
        pass

    given = [(name.lower().encode(), value.encode()) for name, value in {"Host": "localhost", **headers}.items()]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": ONE, "raw_path": ONE.encode(), "query_string": b"", "root_path": "", "headers": given,
        "client": ("127.0.0.1", 1), "server": ("localhost", 80),
    }  # fmt: skip
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    await transport.app(scope, receive, send)
    metrics = (await client.get("/metrics")).text
    label = 'convstore_requests_total{method="POST",route="/api/conversations/{conversation_id}/events",status="4'
    assert any(line.startswith(label) for line in metrics.splitlines())
