"""Two clients of equal stores: one whose requests may go a direct way, and one whose requests all reach FastAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from app import Settings
from app.api import app as application
from tests.conftest import serving


class _PassesOn:
    """The middleware of an application without direct ways."""

    def __init__(self, app: ASGIApp, **_: object) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@pytest.fixture
async def short(corpus: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(Settings(store=corpus)) as client:
        yield client


@pytest.fixture
async def long(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setattr(application, "DirectRoutesMiddleware", _PassesOn)
    async with serving(Settings(store=corpus, index_url=f"sqlite:///{tmp_path / 'own.db'}")) as client:
        yield client
