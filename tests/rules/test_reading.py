"""Reading opens no more files than it must, and changes none. Also the rules that the source code itself keeps."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import ConversationStore, Settings
from app.model.filters import ConversationFilter, Status
from app.model.page import SortOrder
from tests.builders import make_conversation, make_id, make_message_event, names_in, write_event
from tests.conftest import StoreOpener, serving
from tests.web.logs import PIXEL

APP = Path(__file__).parents[2] / "app"

_RELATIVE = re.compile(r"meta\.json|base_state\.json|events|event-.*|owner_lease\.json|convstore\.json")
_CONVERSATION = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Watch:
    """What this process opened or listed in conversation directories since `begin`."""

    def __init__(self) -> None:
        self.root: Path | None = None
        self.seen: list[str] = []

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.root is None or event not in {"open", "os.listdir", "os.scandir"}:
            return
        if isinstance(args[0], int):
            self.seen.append(f"<{event} of a descriptor>")
            return
        path = os.fsdecode(args[0] or ".")
        inside = path.removeprefix(f"{self.root}/") if path.startswith(f"{self.root}/") else path
        if _RELATIVE.fullmatch(inside) or _CONVERSATION.fullmatch(inside.split("/")[0]):
            self.seen.append(inside)

    @property
    def events(self) -> list[str]:
        return [path for path in self.seen if path.rsplit("/", 1)[-1].startswith("event-")]

    @contextmanager
    def on(self, root: Path) -> Iterator[None]:
        self.root, self.seen = root, []
        try:
            yield
        finally:
            self.root = None


_watch = Watch()
_installed: list[bool] = []


@pytest.fixture
def watch() -> Watch:
    if not _installed:  # an audit hook cannot be removed
        sys.addaudithook(_watch.hear)
        _installed.append(True)
    return _watch


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Return size, times, inode and content of everything in the conversation directories under `root`."""
    facts: dict[str, tuple[object, ...]] = {}
    for directory in (path for path in root.iterdir() if _CONVERSATION.fullmatch(path.name)):
        for path in (directory, *directory.rglob("*")):
            status = path.lstat()
            numbers = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            facts[str(path.relative_to(root))] = (*numbers, path.read_bytes() if path.is_file() else None)
    return facts


def event_files(root: Path) -> list[Path]:
    return sorted(root.glob("*/events/event-*.json"))


def readings(root: Path) -> list[str]:
    """Return a request of every kind that reads one conversation, for each of them."""
    asked = []
    for first in event_files(root):
        if first.name.startswith("event-00000-"):
            one = f"/api/conversations/{first.parts[-3]}"
            asked += [one, f"{one}?include_skills=true", f"/api/conversations?ids={first.parts[-3]}"]
            asked += [f"{one}/agent_final_response", f"{one}/events/count", f"{one}/events/search?limit=3"]
            asked += [f"{one}/events/search?body=a&sort_order=TIMESTAMP_DESC", f"{one}/events/count?body=a"]
            asked += [f"{one}/events/{first.stem[len('event-00000-') :]}"]
    return asked


LISTS = [
    f"/api/conversations/{route}"
    for route in (
        "search",
        "count",
        "search?limit=1",
        *(f"search?sort_order={order}" for order in SortOrder),
        *(f"search?status={status}&sort_order={order}" for status in Status for order in SortOrder),
        *(f"count?status={status}" for status in Status),
    )
]


async def test_a_first_sync_is_seen_to_open_files(corpus: Path, watch: Watch, open_store: StoreOpener) -> None:
    async with open_store(corpus, synced=False) as store:
        with watch.on(corpus):
            await store.sync()
    names = {path.rsplit("/", 1)[-1] for path in watch.seen}
    assert {"meta.json", "base_state.json", "events"} <= names
    assert {path.rsplit("/", 1)[-1] for path in watch.events} == {path.name for path in event_files(corpus)}


async def test_a_start_with_the_index_in_step_opens_no_file(
    corpus: Path, watch: Watch, open_store: StoreOpener
) -> None:
    async with open_store(corpus):
        pass
    with watch.on(corpus):
        async with ConversationStore.open(Settings(store=corpus)) as store:
            report = await store.sync()
    assert (report.conversations, report.opened, watch.seen) == (30, 0, [])


async def test_lists_and_counts_open_no_file(corpus: Path, watch: Watch) -> None:
    async with serving(Settings(store=corpus)) as client:
        with watch.on(corpus):
            statuses = {path: (await client.get(path)).status_code for path in LISTS}
            ids = [row["id"] for row in (await client.get("/api/conversations/search")).json()["items"]]
            found = (await client.get("/api/conversations", params={"ids": ids})).json()
    assert statuses == dict.fromkeys(LISTS, 200)
    assert [row["id"] for row in found] == ids
    assert (len(ids), watch.seen) == (30, [])


async def test_walking_the_pages_opens_no_file(corpus: Path, watch: Watch, open_store: StoreOpener) -> None:
    async with open_store(corpus) as store:
        with watch.on(corpus):
            page = await store.list_conversations(limit=7)
            rows = list(page.items)
            while page.next_page_id:
                page = await store.list_conversations(limit=7, page_id=page.next_page_id)
                rows += page.items
            counted = await store.count_conversations(ConversationFilter())
    assert (len(rows), counted, watch.seen) == (30, 30, [])


@pytest.mark.long
async def test_reading_changes_nothing_on_disk(corpus: Path) -> None:
    before = snapshot(corpus)
    asked = [*LISTS, *readings(corpus), "/api/conversations/search?include_skills=true", "/api/index/status", "/ready"]
    async with serving(Settings(store=corpus)) as client:
        statuses = {path: (await client.get(path)).status_code for path in asked}
    assert statuses == dict.fromkeys(asked, 200)
    assert snapshot(corpus) == before


async def make_export(client: httpx.AsyncClient, conversation_id: str) -> str:
    """Make an export as a file, and return its id."""
    made = (await client.post("/api/exports", json={"ids": [conversation_id], "format": "jsonl"})).json()
    async with asyncio.timeout(30):
        while (await client.get(f"/api/exports/{made['id']}")).status_code != 200:
            await asyncio.sleep(0.01)
    return str(made["id"])


ENDLESS = {"/api/changes/stream", "/api/conversations/{conversation_id}/events/stream"}


async def test_no_get_of_the_api_changes_a_file(corpus: Path) -> None:
    directory = event_files(corpus)[0].parent.parent
    one, number = directory.name, len(names_in(directory / "events"))
    event = make_message_event(number, "look")
    event["llm_message"]["content"] = [{"type": "image", "image_urls": [PIXEL]}]
    write_event(directory, number, event)
    given: dict[str, dict[str, str]] = {
        "/api/conversations": {"ids": one},
        "/api/conversations/compare": {"a": one, "b": one},
        "/api/edits": {"path": "a.py"},
        "/api/messages/search": {"q": "the"},
        "/api/conversations/facets": {"by": "status"},
        "/api/conversations/{conversation_id}/events/window": {"around": "0"},
    }
    async with serving(Settings(store=corpus)) as client:
        export_id = await make_export(client, one)
        before = snapshot(corpus)
        paths = (await client.get("/openapi.json")).json()["paths"]
        asked = [path for path, verbs in paths.items() if "get" in verbs and path not in ENDLESS]
        statuses = {}
        for path in asked:
            ids = {
                "conversation_id": one,
                "runtime_conversation_id": one,
                "event_id": event["id"],
                "export_id": export_id,
            }
            filled = path.format(**ids, number=0)
            body: list[str] | None = [] if path.endswith("/events") else None
            statuses[path] = (await client.request("GET", filled, params=given.get(path), json=body)).status_code
    assert statuses == dict.fromkeys(asked, 200)
    assert len(asked) > 15
    assert snapshot(corpus) == before


@pytest.mark.parametrize(("limit", "order"), [(100, "TIMESTAMP"), (100, "TIMESTAMP_DESC"), (10, "TIMESTAMP_DESC")])
async def test_a_page_of_events_opens_the_files_of_the_page(root: Path, watch: Watch, limit: int, order: str) -> None:
    make_conversation(root, events=1000)
    async with serving(Settings(store=root)) as client:
        with watch.on(root):
            page = (
                await client.get(
                    f"/api/conversations/{make_id(1)}/events/search", params={"limit": limit, "sort_order": order}
                )
            ).json()
    assert len(page["items"]) == limit
    assert limit <= len(watch.events) <= limit + 1


async def test_counting_events_opens_none(root: Path, watch: Watch) -> None:
    make_conversation(root, events=20)
    async with serving(Settings(store=root)) as client:
        with watch.on(root):
            counted = (await client.get(f"/api/conversations/{make_id(1)}/events/count?kind=MessageEvent")).json()
    assert (counted, watch.seen) == (20, [])


def test_only_the_writer_commits_and_only_a_reader_that_cannot_write_begins_too() -> None:
    texts = {str(path.relative_to(APP)): path.read_text() for path in APP.rglob("*.py")}
    assert {name for name, text in texts.items() if re.search(r"(?<!_commits)\.commit\(|\bCOMMIT\b", text)} == {
        "index/sqlite/write_connection.py",
        "index/postgres/write_connection.py",
        "index/postgres/migrations.py",
    }
    beginning = {name for name, text in texts.items() if re.search(r"\bBEGIN\b", text)}
    assert beginning == {
        f"index/{engine}/{use}_connection.py" for engine in ("sqlite", "postgres") for use in ("read", "write")
    }
