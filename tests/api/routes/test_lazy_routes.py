"""The application makes its routes when they are first needed."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import ConversationStore, Settings
from app.api import app as application
from app.api.headers import API_KEY
from app.api.routes.lazy_routes import LazyApplication
from tests.builders import make_conversation, make_id
from tests.conftest import answering

ONE = f"/api/conversations/{make_id(1)}"


@asynccontextmanager
async def started(root: Path) -> AsyncIterator[LazyApplication]:
    """Start an application whose index is in step."""
    make_conversation(root)
    settings = Settings(store=root)
    async with ConversationStore.open(settings) as store:
        await store.sync()
    app = application.create_app(settings, keys=[])
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def app(root: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LazyApplication]:
    """An application that makes its routes only for a request."""
    monkeypatch.setattr(application, "_ROUTES_AFTER_S", 60)
    async with started(root) as app:
        yield app


@pytest.fixture
async def client(app: LazyApplication) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


async def test_what_clients_ask_first_is_answered_before_the_routes_are_made(
    app: LazyApplication, client: httpx.AsyncClient
) -> None:
    assert [(await client.get(path)).status_code for path in ("/alive", "/health", "/ready")] == [200] * 3
    assert len((await client.get("/api/conversations/search")).json()["items"]) == 1
    assert (await client.get("/api/conversations/count")).json() == 1
    assert (await client.get(ONE)).status_code == 200
    message = {"content": [{"type": "text", "text": "hello"}]}
    assert (await client.post(f"{ONE}/events", json=message)).json() == {"success": True}
    assert (await client.post(f"/api/conversations/{make_id(9)}/events", json=message)).status_code == 404
    assert not app.has_routes
    assert (await client.get(f"{ONE}/outline")).status_code == 200
    assert app.has_routes


def test_the_application_is_imported_without_fastapi() -> None:
    program = "import sys, app.api.app; print('fastapi' in sys.modules, 'starlette' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "False True\n"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/conversations/search?limit=0", 422),
        ("OPTIONS", ONE, 204),
        ("DELETE", "/api/conversations/search", 422),
        ("GET", "/unknown", 404),
        ("GET", "/openapi.json", 200),
    ],
)
async def test_the_first_request_that_needs_the_routes_gets_them(
    app: LazyApplication, client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    assert not app.has_routes
    assert (await client.request(method, path)).status_code == status


async def test_no_request_makes_the_routes_in_the_thread_that_answers_others(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_conversation(root)
    caplog.set_level(logging.INFO, "audit")
    threads: list[int] = []
    build = LazyApplication.build_routes

    def build_routes(self: LazyApplication) -> Any:
        threads.append(threading.get_ident())
        return build(self)

    monkeypatch.setattr(LazyApplication, "build_routes", build_routes)
    async with answering(Settings(store=root)) as client:
        assert (await client.get(f"{ONE}/outline", headers={API_KEY: "wrong"})).status_code == 401
        assert (await client.options(ONE)).status_code == 204
    assert len(threads) >= 1
    assert threading.get_ident() not in threads
    [line] = [vars(record)["fields"] for record in caplog.records if record.name == "audit"]
    assert line["route"] == "/api/conversations/{conversation_id}/outline"


async def test_requests_at_once_make_the_routes_once(app: LazyApplication, client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.get(f"{ONE}/outline") for _ in range(8)))
    assert [one.status_code for one in answers] == [200] * 8
    routes = [(getattr(one, "path", None), str(getattr(one, "methods", None))) for one in app.routes]
    assert len(routes) == len({*routes})


async def test_the_document_has_all_paths_before_the_routes_were_needed(
    app: LazyApplication, client: httpx.AsyncClient
) -> None:
    paths = app.openapi()["paths"]
    assert len(paths) > 50
    assert (await client.get("/openapi.json")).json()["paths"].keys() == paths.keys()


async def test_the_routes_are_made_soon_without_a_request(root: Path) -> None:
    async with started(root) as app, asyncio.timeout(30):
        while not app.has_routes:
            await asyncio.sleep(0.05)
