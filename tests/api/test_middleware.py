"""Middleware: request ids, counted and logged requests, and the limit of a body."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from app import ConversationStore, Settings
from app.api.app import create_app
from app.api.headers import API_KEY, REQUEST_ID
from app.api.middleware import BODY_MAX_BYTES, ObservabilityMiddleware
from app.cli.serve import listen
from app.logs import JsonFormatter
from tests.api.clients import http_client, listening, raising, read_metrics
from tests.builders import make_conversation, make_id
from tests.conftest import PACKAGE, answering, serving

SEARCH = "/api/conversations/search"
MADE = re.compile(r"[0-9a-f]{16}")


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    make_conversation(root)
    make_conversation(root, 2, state={"agent": None, "execution_status": 7})
    async with serving(Settings(store=root)) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "status"),
    [(SEARCH, 200), (f"{SEARCH}?limit=0", 422), ("/nothing", 404), (f"/api/conversations/{make_id(1)}", 200)],
)
async def test_every_answer_has_an_id_of_its_own(client: httpx.AsyncClient, path: str, status: int) -> None:
    one, other = await client.get(path), await client.get(path)
    assert one.status_code == status
    assert MADE.fullmatch(one.headers[REQUEST_ID])
    assert one.headers[REQUEST_ID] != other.headers[REQUEST_ID]


async def test_a_refused_request_has_an_id_too(client: httpx.AsyncClient) -> None:
    for headers, status in (({API_KEY: "wrong"}, 401), ({"Host": "evil.example"}, 400)):
        answer = await client.get(SEARCH, headers=headers)
        assert (answer.status_code, bool(MADE.fullmatch(answer.headers[REQUEST_ID]))) == (status, True)


@pytest.mark.parametrize("given", ["a", "A-1_b.c", "x" * 64])
async def test_the_id_that_a_request_brings_is_kept(client: httpx.AsyncClient, given: str) -> None:
    assert (await client.get(SEARCH, headers={REQUEST_ID: given})).headers[REQUEST_ID] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\x1b[31m", "é", 'a"', "a/b", "{x}"])
async def test_an_id_that_could_harm_a_log_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get(SEARCH, headers=[(REQUEST_ID.encode(), given.encode())])
    assert MADE.fullmatch(answer.headers[REQUEST_ID])


async def test_an_unexpected_error_is_answered_and_logged_under_its_id(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ConversationStore, "get_status", raising(RuntimeError("boom")))
    answer = await client.get("/api/index/status", headers={REQUEST_ID: "mine"})
    assert (answer.status_code, answer.json()["code"], answer.headers[REQUEST_ID]) == (500, "internal_error", "mine")
    assert "GET /api/index/status failed" in caplog.text
    monkeypatch.undo()
    assert (await read_metrics(client))["convstore_requests_total", "GET", "/api/index/status", "500"] == 1


NO_THREAD = RuntimeError("can't start new thread")


@pytest.mark.parametrize("path", ["/api/index/status", f"/api/conversations/{make_id(1)}"])
async def test_a_request_without_a_thread_is_answered_and_logged_in_a_line(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    for name in ("get_status", "get_conversation"):
        monkeypatch.setattr(ConversationStore, name, raising(NO_THREAD))
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "out_of_memory", "1")
    assert MADE.fullmatch(answer.headers[REQUEST_ID])
    [line] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert line.getMessage().startswith(f"GET {path}: there is too little memory (can't start new thread); raise")
    assert line.exc_info is None


async def test_a_change_without_a_thread_may_have_been_made_and_gets_500(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ConversationStore, "delete", raising(NO_THREAD))
    answer = await client.delete(f"/api/conversations/{make_id(1)}")
    assert (answer.status_code, answer.json()["code"]) == (500, "out_of_memory")
    assert "Retry-After" not in answer.headers


async def test_the_first_request_without_a_thread_to_make_the_routes_is_answered(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering(Settings(store=root)) as client:
        with monkeypatch.context() as short:
            short.setattr(asyncio, "to_thread", raising(NO_THREAD))
            assert (await client.get("/server_info")).json()["code"] == "out_of_memory"
        assert (await client.get("/server_info")).json()["title"] == "convstore"


async def test_requests_are_counted_by_the_pattern_of_their_path(client: httpx.AsyncClient) -> None:
    for path in (SEARCH, SEARCH, f"{SEARCH}?limit=0", f"/api/conversations/{make_id(1)}", "/a", f"/b/{make_id(1)}"):
        await client.get(path)
    await client.request("FROB", "/a")
    counted = await read_metrics(client)
    of_requests = {
        labels: value
        for (name, *labels_), value in counted.items()
        if name == "convstore_requests_total" and (labels := tuple(labels_))[1] != "/api/index/status"
    }
    assert of_requests == {
        ("GET", SEARCH, "200"): 2,
        ("GET", SEARCH, "422"): 1,
        ("GET", "/api/conversations/{conversation_id}", "200"): 1,
        ("GET", "other", "404"): 2,
        ("other", "other", "404"): 1,
    }
    assert counted["convstore_request_seconds_count", SEARCH, "200"] == 2
    assert not any(make_id(1) in label for labels in counted for label in labels)


async def test_requests_are_logged_at_debug_and_failures_always(
    client: httpx.AsyncClient, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, f"{PACKAGE}.api.middleware")
    await client.get(f"{SEARCH}?q=private")
    caplog.set_level(logging.INFO, f"{PACKAGE}.api.middleware")
    await client.get(SEARCH)
    await client.post(f"/api/conversations/{make_id(1)}/run")
    (root / ".convstore" / "index.db").unlink()
    await client.get("/ready")
    ours = [record for record in caplog.records if record.name == f"{PACKAGE}.api.middleware"]
    said = [(record.levelname, record.getMessage().rsplit(" in ")[0]) for record in ours]
    assert said == [("DEBUG", f"GET {SEARCH} 200"), ("WARNING", "GET /ready 503")]


MESSAGE = b'{"role": "user", "content": []}'
EVENTS = f"/api/conversations/{make_id(1)}/events"


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

    async with listening(root) as host, http_client(host) as client:
        answer = await client.post(EVENTS, content=endless(), timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_an_import_has_a_limit_of_its_own(root: Path) -> None:
    async with serving(Settings(store=root)) as client:
        answer = await client.post("/api/conversations/import", content=in_pieces(BODY_MAX_BYTES + 1))
    assert (answer.status_code, answer.json()["code"]) == (422, "archive_refused")


async def test_a_query_string_is_in_no_log_of_the_server_either(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(root)
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "filters", [])  # that of `convstore serve` hides sockets
    settings = Settings(store=root, port=0, shutdown_timeout_s=1)
    for name in (None, "uvicorn.error", "uvicorn.access"):
        caplog.set_level(logging.INFO, name)
    with listen(settings) as listener:
        config = uvicorn.Config(create_app(settings, ["a-key"]), log_config=None, access_log=True)
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        while not server.started:
            await asyncio.sleep(0.01)
        async with http_client(host) as client:
            assert (await client.get("/api/conversations/count?q=the-query")).json() == 0
        async with connect(f"ws://{host}/sockets/events/{make_id(1)}?session_api_key=a-key&x=the-query") as socket:
            assert json.loads(await socket.recv())["key"] == "full_state"
        with pytest.raises(InvalidStatus):
            await connect(f"ws://{host}/sockets/events/{make_id(1)}?session_api_key=the-query")
        server.should_exit = True
        await running
    lines = [record.getMessage() for record in caplog.records if record.name in ("uvicorn.access", "uvicorn.error")]
    assert any("/api/conversations/count HTTP" in line for line in lines)
    assert sum("WebSocket /sockets/events" in line for line in lines) == 2
    assert "the-query" not in "".join(lines)


HEADS = [
    *("/health", "/server_info", "/docs", "/openapi.json", "/metrics", "/api/settings", "/api/index/status"),
    *("/api/conversations/search", "/api/conversations/count", f"/api/conversations?ids={make_id(1)}"),
    *(f"/api/conversations/{make_id(1)}{path}" for path in ("", "/events/search", "/export", "/runtime")),
]


async def test_head_answers_what_answers_get_without_the_body(root: Path) -> None:
    make_conversation(root)
    async with listening(root) as host, http_client(host) as client:
        for path in HEADS:
            asked, told = await client.get(path), await client.head(path)
            assert (told.status_code, told.content) == (200, b""), path
            assert told.headers.get("content-type") == asked.headers.get("content-type"), path
        for path in (f"/api/conversations/{make_id(1)}/events/stream", "/api/changes/stream"):
            told = await asyncio.wait_for(client.head(path), 5)
            assert (told.status_code, told.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (await client.head(f"/api/conversations/{make_id(9)}")).status_code == 404
        assert (await client.head(f"/api/conversations/{make_id(1)}/run")).status_code == 405
        samples = await read_metrics(client)
    assert any("HEAD" in labels and "/api/conversations/search" in labels for labels in samples)


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/health", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
        ("/api/conversations", "GET, HEAD, OPTIONS, POST"),
        (f"/api/conversations/{make_id(1)}", "DELETE, GET, HEAD, OPTIONS, PATCH"),
    ],
)
async def test_options_names_the_methods_of_a_path(client: httpx.AsyncClient, path: str, methods: str) -> None:
    answer = await client.options(path)
    assert (answer.status_code, answer.headers["Allow"], answer.content) == (204, methods, b"")


async def test_options_of_an_unknown_path_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.options("/nothing")).status_code == 404


@pytest.mark.parametrize(
    ("given", "trace_id"),
    [
        (f"00-{'a1' * 16}-{'b2' * 8}-01", "a1" * 16),
        (f"01-{'a1' * 16}-{'b2' * 8}-01-more", "a1" * 16),
        (f"ff-{'a1' * 16}-{'b2' * 8}-01", None),
        (f"00-{'0' * 32}-{'b2' * 8}-01", None),
        (f"00-{'A1' * 16}-{'b2' * 8}-01", None),
        ("", None),
    ],
)
async def test_a_json_line_of_a_request_has_fields(root: Path, given: str, trace_id: str | None) -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(JsonFormatter().format(record))  # type: ignore[method-assign]
    logger = logging.getLogger(ObservabilityMiddleware.__module__)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        async with serving(Settings(store=root)) as client:
            lines.clear()
            await client.get("/health?secret", headers={"traceparent": given, "X-Request-ID": "r1"})
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    fields = json.loads(lines[0])
    assert fields.pop("duration_ms") >= 0
    assert {name: fields.get(name) for name in ("method", "route", "status", "request_id", "trace_id")} == {
        "method": "GET", "route": "/health", "status": 200, "request_id": "r1", "trace_id": trace_id,
    }  # fmt: skip
    assert "secret" not in lines[0]
