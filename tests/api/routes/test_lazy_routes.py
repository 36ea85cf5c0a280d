"""The application makes its routes when they are first needed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app import ConversationStore, Settings
from app.api.app import create_app
from app.api.routes.lazy_routes import LazyApplication
from tests.builders import make_conversation, make_id

ONE = f"/api/conversations/{make_id(1)}"


@pytest.fixture
async def app(root: Path) -> AsyncIterator[LazyApplication]:
    """An application that was just started, with an index in step."""
    make_conversation(root)
    settings = Settings(store=root)
    async with ConversationStore.open(settings) as store:
        await store.sync()
    application = create_app(settings, keys=[])
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture
async def client(app: LazyApplication) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


async def test_lists_and_conversations_are_answered_before_the_routes_are_made(
    app: LazyApplication, client: httpx.AsyncClient
) -> None:
    assert len((await client.get("/api/conversations/search")).json()["items"]) == 1
    assert (await client.get("/api/conversations/count")).json() == 1
    assert (await client.get(ONE)).status_code == 200
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


async def test_the_routes_are_made_soon_without_a_request(app: LazyApplication) -> None:
    async with asyncio.timeout(30):
        while not app.has_routes:
            await asyncio.sleep(0.05)
