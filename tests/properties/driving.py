"""Ways to drive a store: as a library, and over HTTP. Each write answers "done" or the error's code."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx
import orjson

from app import ConversationStore, Settings
from app.errors import StoreError
from app.model.filters import ConversationFilter, Status
from app.model.ids import ConversationId, dashed

DONE = "done"

Json = dict[str, Any]

_REQUEST: Json = {"agent": {"llm": {"model": "a/model"}}, "workspace": {"working_dir": "/home/dev"}}


class Shown(NamedTuple):
    """What a store shows of a conversation."""

    title: str | None
    tags: dict[str, str]
    events: list[str]


class Driver(Protocol):
    """A store that can be written to and looked at."""

    def create(self, conversation_id: str) -> str: ...
    def append(self, conversation_id: str, events: list[Json]) -> str: ...
    def set_title(self, conversation_id: str, title: str) -> str: ...
    def set_tags(self, conversation_id: str, tags: dict[str, str]) -> str: ...
    def navigate(self, conversation_id: str, event_id: str | None) -> str: ...
    def fork(self, conversation_id: str, fork_id: str) -> str: ...
    def delete(self, conversation_id: str) -> str: ...
    def restore(self, conversation_id: str) -> str: ...
    def show(self) -> dict[str, Shown]: ...
    def count(self) -> int: ...


class Library:
    """A store of this process."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._runner = asyncio.Runner()
        self._open()

    def _open(self) -> None:
        self._stack = AsyncExitStack()
        entered = self._stack.enter_async_context(ConversationStore.open(Settings(store=self._root)))
        self._store = self._runner.run(entered)
        self._runner.run(self._store.sync())

    def reopen(self) -> None:
        """Close the store and open it again."""
        self._runner.run(self._stack.aclose())
        self._open()

    def close(self) -> None:
        """Close the store."""
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def _tell(self, work: Coroutine[Any, Any, object]) -> str:
        try:
            self._runner.run(work)
        except StoreError as error:
            return error.code
        return DONE

    def create(self, conversation_id: str) -> str:
        return self._tell(self._store.create(_REQUEST | {"conversation_id": conversation_id}))

    def append(self, conversation_id: str, events: list[Json]) -> str:
        return self._write(conversation_id, "append_batch", events)

    def set_title(self, conversation_id: str, title: str) -> str:
        return self._write(conversation_id, "set_title", title)

    def set_tags(self, conversation_id: str, tags: dict[str, str]) -> str:
        return self._write(conversation_id, "set_tags", tags)

    def set_status(self, conversation_id: str, status: Status) -> str:
        return self._write(conversation_id, "set_status", status)

    def navigate(self, conversation_id: str, event_id: str | None) -> str:
        return self._write(conversation_id, "navigate", event_id)

    def _write(self, conversation_id: str, method: str, argument: object) -> str:
        async def write() -> None:
            async with self._store.writer(ConversationId(conversation_id)) as conversation:
                await getattr(conversation, method)(argument)

        return self._tell(write())

    def fork(self, conversation_id: str, fork_id: str) -> str:
        return self._tell(self._store.fork(ConversationId(conversation_id), fork_id=ConversationId(fork_id)))

    def delete(self, conversation_id: str) -> str:
        return self._tell(self._store.delete(ConversationId(conversation_id)))

    def restore(self, conversation_id: str) -> str:
        return self._tell(self._store.restore(ConversationId(conversation_id)))

    def sync(self) -> None:
        self._runner.run(self._store.sync())

    def differences(self) -> list[str]:
        """Return where index and files differ."""
        return [str(one) for one in self._runner.run(self._store.verify())]

    def count(self) -> int:
        return self._runner.run(self._store.count_conversations(ConversationFilter()))

    def show(self) -> dict[str, Shown]:
        return self._runner.run(self._show())

    async def _show(self) -> dict[str, Shown]:
        shown = {}
        for body in (await self._store.list_conversations()).items:
            info = orjson.loads(body)
            page = await self._store.list_events(ConversationId(info["id"].replace("-", "")))
            shown[info["id"].replace("-", "")] = _shown(info, [orjson.loads(event) for event in page.items])
        return shown


class Http:
    """A server."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.Client(base_url=url, headers={"X-Session-API-Key": key}, timeout=60)

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _ask(self, method: str, path: str, body: object = None) -> str:
        answer = self._client.request(method, f"/api/conversations{path}", json=body)
        return DONE if answer.is_success else str(answer.json()["code"])

    def create(self, conversation_id: str) -> str:
        return self._ask("POST", "", _REQUEST | {"conversation_id": dashed(ConversationId(conversation_id))})

    def append(self, conversation_id: str, events: list[Json]) -> str:
        return self._ask("POST", f"/{conversation_id}/events/batch", {"events": events})

    def set_title(self, conversation_id: str, title: str) -> str:
        return self._ask("PATCH", f"/{conversation_id}", {"title": title})

    def set_tags(self, conversation_id: str, tags: dict[str, str]) -> str:
        return self._ask("PATCH", f"/{conversation_id}", {"tags": tags})

    def navigate(self, conversation_id: str, event_id: str | None) -> str:
        return self._ask("POST", f"/{conversation_id}/navigate", {"event_id": event_id})

    def fork(self, conversation_id: str, fork_id: str) -> str:
        return self._ask("POST", f"/{conversation_id}/fork", {"id": dashed(ConversationId(fork_id))})

    def delete(self, conversation_id: str) -> str:
        return self._ask("DELETE", f"/{conversation_id}")

    def restore(self, conversation_id: str) -> str:
        return self._ask("POST", f"/{conversation_id}/restore")

    def remove(self, conversation_id: str) -> None:
        """Delete for good."""
        self._ask("DELETE", f"/{conversation_id}?permanent=true")

    def count(self) -> int:
        return int(self._client.get("/api/conversations/count").json())

    def show(self) -> dict[str, Shown]:
        shown = {}
        for info in self._client.get("/api/conversations/search", params={"limit": 100}).json()["items"]:
            events = self._client.get(f"/api/conversations/{info['id']}/events/search", params={"limit": 100}).json()[
                "items"
            ]
            shown[info["id"].replace("-", "")] = _shown(info, events)
        return shown


def _shown(info: Json, events: list[Json]) -> Shown:
    assert info["event_count"] == len(events), info["id"]
    return Shown(info["title"], info["tags"], [event["id"] for event in events])
