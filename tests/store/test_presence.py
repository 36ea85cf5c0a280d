"""A store whose disk is not mounted: nothing is pretended, nothing is written, and all is there when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app import ConversationStore, Settings
from app.api.app import create_app
from app.errors import StoreUnavailable
from app.model.ids import ConversationId
from app.store import presence
from app.store.admin.usage import By, measure
from tests.builders import NEW_CONVERSATION, index_tables, make_conversation, make_id, names_in
from tests.conftest import serving

ONE = make_id(1)

READS = (
    "/api/conversations/search",
    "/api/conversations/count",
    "/api/conversations/facets?by=status",
    f"/api/conversations?ids={ONE}",
    f"/api/conversations/{ONE}",
    f"/api/conversations/{make_id(2)}",
    f"/api/conversations/{ONE}/events/search",
    f"/api/conversations/{ONE}/events/count",
    f"/api/conversations/{ONE}/events/stream",
    f"/api/conversations/{ONE}/export",
    "/api/messages/search?q=message",
    "/api/changes",
    "/api/trash",
    "/api/usage",
    "/ready",
)
WRITES: tuple[tuple[str, str, object], ...] = (
    ("POST", "/api/conversations", NEW_CONVERSATION),
    ("POST", f"/api/conversations/{ONE}/fork", {}),
    ("PATCH", f"/api/conversations/{ONE}", {"title": "Changed"}),
    ("POST", f"/api/conversations/{ONE}/events", {"content": [{"text": "hello"}]}),
    ("POST", f"/api/conversations/{ONE}/restore", None),
    ("POST", "/api/conversations/import", None),
    ("POST", "/api/index/sync", None),
    ("DELETE", f"/api/conversations/{ONE}", None),
    ("POST", "/api/conversations/bulk/restore", {"deleted_at__gte": "1970-01-01T00:00:00Z"}),
    ("POST", "/api/conversations/bulk/restore", {"ids": [ONE], "dry_run": True}),
    ("POST", "/api/trash/empty", {"dry_run": True}),
    ("DELETE", "/api/trash", None),
    ("DELETE", f"/api/trash/{ONE}", None),
)


async def wait_for(client: httpx.AsyncClient, path: str, status: int) -> None:
    async with asyncio.timeout(60):
        while (await client.get(path)).status_code != status:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("index", "mount_point"),
    [
        ("elsewhere", True),
        pytest.param("elsewhere", False, marks=pytest.mark.long),
        pytest.param("in the store", True, marks=pytest.mark.long),
        ("in the store", False),
    ],
)
async def test_an_unmounted_store_answers_503_and_is_there_when_it_is_back(
    root: Path, tmp_path: Path, mount_point: bool, index: str
) -> None:
    make_conversation(root)
    elsewhere = tmp_path / "elsewhere.db"
    settings = Settings(store=root, index_url=f"sqlite:///{elsewhere}" if index == "elsewhere" else None)
    async with serving(settings) as client:
        for path in READS[:2]:
            assert (await client.get(path)).status_code == 200
        root.rename(tmp_path / "away")
        if mount_point:
            root.mkdir()
        before = index_tables(elsewhere)["conversation"] if index == "elsewhere" else []
        await wait_for(client, "/api/conversations/count", 503)
        for path in READS:
            answer = await client.get(path)
            told = (answer.status_code, answer.json()["code"], answer.headers["Retry-After"])
            assert told == (503, "store_unavailable", "1"), (path, answer.text)
        for method, path, body in WRITES:
            answer = await client.request(method, path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable"), (path, answer.text)
        assert (await client.get("/health")).status_code == 200
        await asyncio.sleep(1.5)  # the watcher has looked
        assert (await client.get("/ready")).status_code == 503
        if index == "elsewhere":
            assert index_tables(elsewhere)["conversation"] == before
        if mount_point:
            assert names_in(root) == []
            root.rmdir()
        (tmp_path / "away").rename(root)
        await wait_for(client, "/api/conversations/count", 200)
        assert (await client.get("/api/conversations/count")).json() == 1
        assert (await client.get("/ready")).status_code == 200
        assert (await client.post("/api/conversations", json=NEW_CONVERSATION)).status_code == 201


async def test_the_first_answer_of_a_server_without_its_disk_is_503(root: Path, tmp_path: Path) -> None:
    path = make_conversation(root)
    settings = Settings(store=root, index_url=f"sqlite:///{tmp_path / 'elsewhere.db'}")
    async with serving(settings):
        pass
    path.rename(tmp_path / "away")
    async with starting(settings) as client:
        answer = await client.get("/api/conversations/search")
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert "`convstore index sync --allow-empty`" in answer.json()["detail"]
        assert (await client.get("/ready")).status_code == 503
        (tmp_path / "away").rename(path)
        await wait_for(client, "/ready", 200)
        assert (await client.get("/api/conversations/count")).json() == 1


async def test_a_new_store_is_ready(root: Path, tmp_path: Path) -> None:
    async with serving(Settings(store=root, index_url=f"sqlite:///{tmp_path / 'elsewhere.db'}")) as client:
        assert (await client.get("/ready")).status_code == 200
        assert (await client.get("/api/conversations/count")).json() == 0


async def test_a_store_that_another_program_emptied_is_empty_after_a_minute(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_SETTLED_AFTER_S", 0.2)
    path = make_conversation(root)
    async with serving(Settings(store=root)) as client:
        assert (await client.get("/ready")).status_code == 200
        path.rename(tmp_path / "removed")
        await wait_for(client, "/ready", 503)
        assert (await client.get("/api/conversations/count")).status_code == 503
        monkeypatch.setattr(presence, "_BELIEVED_AFTER_S", 0.0)
        await wait_for(client, "/ready", 200)
        async with asyncio.timeout(60):
            while (answer := await client.get("/api/conversations/count")).json() != 0:
                await asyncio.sleep(0.05)
        assert answer.status_code == 200


async def test_a_server_that_starts_on_an_empty_mount_point_takes_it_for_a_new_store(
    root: Path, tmp_path: Path
) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        assert (await client.get("/api/conversations/count")).json() == 1
    away = root.rename(tmp_path / "away")
    root.mkdir()
    async with serving(Settings(store=root)) as client:
        assert (await client.get("/ready")).status_code == 200
        assert (await client.get("/api/conversations/count")).json() == 0
    assert names_in(away) == [".convstore", ONE]


async def test_deleting_the_last_conversation_leaves_a_ready_store(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        assert (await client.delete(f"/api/conversations/{ONE}")).status_code == 200
        await asyncio.sleep(1.2)
        assert (await client.get("/ready")).status_code == 200
        assert (await client.get("/api/conversations/count")).json() == 0


async def test_a_link_that_leads_elsewhere_by_now_is_told(root: Path, tmp_path: Path) -> None:
    make_conversation(root)
    link = tmp_path / "link"
    link.symlink_to(root)
    (tmp_path / "other").mkdir()
    async with serving(Settings(store=link)) as client:
        assert (await client.get("/ready")).status_code == 200
        link.unlink()
        link.symlink_to("other")
        answer = await client.get("/ready")
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert f"the link {link} now leads to {tmp_path / 'other'}" in answer.json()["detail"]
        link.unlink()
        link.symlink_to(root)
        assert (await client.get("/ready")).status_code == 200


@asynccontextmanager
async def starting(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Run the application in this process; its index may be anything when the client is given."""
    application = create_app(settings, keys=[])
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://localhost") as client,
    ):
        yield client


async def test_the_library_refuses_an_unmounted_store_and_writes_nothing(root: Path, tmp_path: Path) -> None:
    make_conversation(root)
    settings = Settings(store=root, index_url=f"sqlite:///{tmp_path}/elsewhere/index.db")
    async with ConversationStore.open(settings) as store:
        await store.sync()
    away = root.rename(tmp_path / "away")
    root.mkdir()
    async with ConversationStore.open(settings) as store:
        for act in (
            store.list_conversations(),
            store.count_conversations(),
            store.get_conversation(ConversationId(ONE)),
            store.create(NEW_CONVERSATION),
            store.fork(ConversationId(ONE)),
            store.sync(),
            anext(store.export()),
            anext(store.export([ConversationId(ONE)])),
            measure(store, By.MONTH, 1),
        ):
            with pytest.raises(StoreUnavailable):
                await act
        assert names_in(root) == []
        root.rmdir()
        away.rename(root)
        await store.sync()
        assert await store.count_conversations() == 1
    (root / ONE).rename(tmp_path / "gone")
    async with ConversationStore.open(settings) as store:
        assert (await store.sync(allow_empty=True)).removed == 1
        assert await store.count_conversations() == 0
