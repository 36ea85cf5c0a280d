"""Fixtures: real directories, a real index made by the migrations, the recorded corpus."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tarfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

import app
from app import ConversationStore, Settings
from app.api.app import create_app
from app.index.connections import WriteConnection
from app.index.engine import Index
from app.index.sqlite import migrations
from tests.builders import make_conversation

pytest_plugins = ["tests.postgres", "tests.engines", "tests.suites", "tests.untried", "tests.watchdog"]

DATA = Path(__file__).parent / "data"
PACKAGE = app.__name__
"""The name of the package: `app`, or `convstore` where the tests run against an installed one."""

StoreOpener = Callable[..., AbstractAsyncContextManager[ConversationStore]]


def pytest_report_header() -> str:
    return f"convstore: {Path(app.__file__).parent}"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CONVSTORE_{name.upper()}", raising=False)


@pytest.fixture(autouse=True)
def _no_handler_stays() -> Iterator[None]:
    """Remove the handler of `logs.configure`, because it writes to the standard error that this test captures."""
    yield
    logger = logging.getLogger()
    for handler in logger.handlers[:]:
        if type(handler) is logging.StreamHandler:
            logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def settled_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files look a minute old to this process, so that their signatures are trusted at once."""
    monkeypatch.setattr("app.files.fingerprint.time_ns", lambda: time.time_ns() + 60_000_000_000)


@pytest.fixture(scope="session")
def empty_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index as the migrations leave it; copied into each test's store."""
    path = tmp_path_factory.mktemp("template") / "index.db"
    migrations.upgrade(path)
    return path


@pytest.fixture
def root(tmp_path: Path, empty_index: Path) -> Path:
    """An empty conversations directory with an index."""
    directory = tmp_path / "conversations"
    (directory / ".convstore").mkdir(parents=True)
    shutil.copyfile(empty_index, directory / ".convstore" / "index.db")
    return directory


@pytest.fixture(scope="session")
def pristine_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty conversations that agent-server 1.58 wrote. Only to be read."""
    directory = tmp_path_factory.mktemp("corpus")
    with tarfile.open(DATA / "conversations.tar.gz") as archive:
        archive.extractall(directory, filter="data")
    return directory / "conversations"


@pytest.fixture
def corpus(pristine_corpus: Path, root: Path) -> Path:
    """A copy of the corpus, with an empty index, for a test to do with as it likes."""
    shutil.copytree(pristine_corpus, root, dirs_exist_ok=True)
    return root


@pytest.fixture
def open_store() -> StoreOpener:
    """Open a store: `async with open_store(root) as store`. It is synced first, unless `synced=False`."""

    @asynccontextmanager
    async def opener(root: Path, *, synced: bool = True, **settings: object) -> AsyncIterator[ConversationStore]:
        async with ConversationStore.open(Settings.model_validate({"store": root, **settings})) as store:
            if synced:
                await store.sync()
            yield store

    return opener


@asynccontextmanager
async def transaction(index: Index, work: Callable[[WriteConnection], object] = lambda _: None) -> AsyncIterator[None]:
    """Hold a write transaction of an index open while the block runs; `work` is done at its beginning."""
    begun, over = threading.Event(), threading.Event()

    def wait(connection: WriteConnection) -> None:
        work(connection)
        begun.set()
        assert over.wait(60)

    writing = asyncio.create_task(index.write(wait))
    assert await asyncio.to_thread(begun.wait, 30)
    try:
        yield
    finally:
        over.set()
        await writing


@asynccontextmanager
async def serving(settings: Settings, key: str | None = "a-key") -> AsyncIterator[httpx.AsyncClient]:
    """Run the application in this process, its index in step, and give a client that holds the key."""
    started = datetime.now(UTC)
    async with answering(settings, key) as client:
        await _in_step(client, started)
        yield client


@asynccontextmanager
async def answering(settings: Settings, key: str | None = "a-key") -> AsyncIterator[httpx.AsyncClient]:
    """Run the application in this process, and give a client that holds the key at once."""
    application = create_app(settings, keys=[key] if key else [])
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(application, raise_app_exceptions=False),
            base_url="http://localhost",
            headers={"X-Session-API-Key": key} if key else {},
        ) as client,
    ):
        yield client


@pytest.fixture
async def client(root: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that serves one conversation."""
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        yield client


async def _in_step(client: httpx.AsyncClient, started: datetime) -> None:
    """Wait until the server has compared the index with the disk."""
    async with asyncio.timeout(60):
        while True:
            swept = (await client.get("/api/index/status")).json()["last_sweep_at"]
            if swept and datetime.fromisoformat(swept) >= started:
                return
            await asyncio.sleep(0.01)
