"""One client of a server under load: what it asks, what it was promised, and which answers are in order."""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from threading import Event
from typing import Any

import httpx

from tests.builders import make_event, make_id

_KEPT = 8
"""How many conversations a client keeps; older ones it deletes."""

_IN_ORDER = frozenset({200, 201, 304})
_DOCUMENTED = {404, 409, 503}
"""What may be answered beside: deleted by another client, owned by another program, an index that is busy or new."""

LONG, LARGE = make_id(69_000), make_id(69_001)
"""Conversations of the store that are never deleted: one of many events, and one of large ones."""

_DOWN_S = 0.2
_FILTERS: list[dict[str, Any]] = [
    {"limit": 20},
    {"limit": 50, "sort_order": "UPDATED_AT_DESC"},
    {"status": "finished"},
    {"limit": 5, "sort_order": "CREATED_AT"},
]


class Client:
    """A client with conversations of its own, which remembers each event that was acknowledged."""

    def __init__(self, url: str, key: str, seed: int) -> None:
        self.acknowledged: dict[str, list[str]] = {}
        self.appended_to_long: list[str] = []
        self.counted: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._random = random.Random(seed)  # noqa: S311
        self._http = httpx.Client(base_url=url, headers={"X-Session-API-Key": key}, timeout=60)
        self._deleted: list[str] = []
        self._etag = ""

    def run(self, stop: Event, count_changes: Callable[[], int]) -> None:
        """Ask until told to stop. A connection may break if the server was down meanwhile, see `_Server.changes`."""
        acts = [self._list, self._count, self._look, self._append, self._append, self._rename, self._create]
        acts += [self._delete, self._restore, self._fork, self._changes, self._metrics, self._export]
        acts += [
            self._facets,
            self._tag_many,
            self._archive_many,
            self._read_the_long_one,
            self._append_to_the_long_one,
        ]
        acts += [self._leave_the_large_one, self._read_the_page]
        while not stop.is_set():
            act = self._random.choice(acts)
            before = count_changes()
            try:
                act()
            except httpx.TransportError as error:
                self.counted["broken"] += 1
                if before == count_changes() and before % 2 == 0:
                    self.wrong.append(f"{act.__name__}: {type(error).__name__} {error}")
                time.sleep(_DOWN_S)
        self._http.close()

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        """Return an answer that is in order, None for one that is documented but no success."""
        answer = self._http.request(method, path, **more)
        self.counted["requests"] += 1
        if answer.status_code in _IN_ORDER:
            return answer
        self.counted[str(answer.status_code)] += 1
        if answer.status_code not in _DOCUMENTED:
            self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return None

    def _one(self) -> str | None:
        return self._random.choice([*self.acknowledged]) if self.acknowledged else None

    def _list(self) -> None:
        found = self._ask("GET", "/api/conversations/search", params=self._random.choice(_FILTERS))
        if found is not None and found.json()["next_page_id"]:
            self._ask("GET", "/api/conversations/search", params={"limit": 20})

    def _count(self) -> None:
        found = self._ask("GET", "/api/conversations/count", headers={"If-None-Match": self._etag})
        if found is not None:
            self._etag = found.headers.get("ETag", "")

    def _look(self) -> None:
        if one := self._one():
            found = self._ask("GET", f"/api/conversations/{one}/events/search", params={"limit": 100})
            if found is not None:
                there = [event["id"] for event in found.json()["items"]]
                promised = self.acknowledged[one][:100]
                if there[: len(promised)] != promised and set(promised) - set(there):
                    self.wrong.append(f"{one}: {len(set(promised) - set(there))} acknowledged events are missing")

    def _append(self) -> None:
        if one := self._one():
            events = [make_event(0, id=str(uuid.uuid4())) for _ in range(self._random.choice([1, 1, 4]))]
            done = self._ask("POST", f"/api/conversations/{one}/events/batch", json={"events": events})
            if done is not None:
                self.acknowledged[one] += [event["id"] for event in events]

    def _rename(self) -> None:
        if one := self._one():
            self._ask("PATCH", f"/api/conversations/{one}", json={"title": f"title {self._random.random()}"})

    def _create(self) -> None:
        one = str(uuid.uuid4())
        request = {
            "conversation_id": one,
            "agent": {"llm": {"model": "a/model"}},
            "workspace": {"working_dir": "/home/dev"},
        }
        if self._ask("POST", "/api/conversations", json=request) is not None:
            self.acknowledged[one] = []
        if len(self.acknowledged) > _KEPT:
            self._forget(next(iter(self.acknowledged)), permanent=True)

    def _forget(self, one: str, *, permanent: bool) -> bool:
        """Delete a conversation; of one that broke off nobody knows whether it is there."""
        promised = self.acknowledged.pop(one)
        gone = self._ask("DELETE", f"/api/conversations/{one}", params={"permanent": permanent}) is not None
        if not gone:
            self.acknowledged[one] = promised
        return gone

    def _delete(self) -> None:
        if len(self.acknowledged) > 2 and (one := self._one()):
            promised = self.acknowledged[one]
            if self._forget(one, permanent=False) and self._restored(one):
                self.acknowledged[one] = promised

    def _restored(self, one: str) -> bool:
        return self._ask("POST", f"/api/conversations/{one}/restore") is not None

    def _restore(self) -> None:
        self._ask("GET", "/api/trash")

    def _fork(self) -> None:
        if one := self._one():
            promised = [*self.acknowledged[one]]
            made = self._ask("POST", f"/api/conversations/{one}/fork", json={})
            if made is not None:
                self.acknowledged[made.json()["id"]] = promised
                if len(self.acknowledged) > _KEPT:
                    self._forget(next(iter(self.acknowledged)), permanent=True)

    def _changes(self) -> None:
        found = self._ask("GET", "/api/changes", params={"since": "now"})
        if found is not None:
            self._ask("GET", "/api/changes", params={"since": found.json()["next"], "wait": 1})

    def _metrics(self) -> None:
        self._ask("GET", "/metrics")

    def _export(self) -> None:
        if one := self._one():
            self._ask("GET", f"/api/conversations/{one}/export", params={"format": "jsonl"})

    def _facets(self) -> None:
        params = {"by": ["status", "model", "workspace", "day"], "limit": self._random.choice([5, 20])}
        self._ask("GET", "/api/conversations/facets", params=params)

    def _tag_many(self) -> None:
        if self.acknowledged:
            ids = [*self.acknowledged]
            self._ask(
                "POST", "/api/conversations/bulk/tag", json={"ids": ids, "set": {"round": str(self._random.random())}}
            )

    def _archive_many(self) -> None:
        if self.acknowledged:
            archived = self._random.random() < 0.5
            self._ask(
                "POST", "/api/conversations/bulk/archive", json={"ids": [*self.acknowledged], "archived": archived}
            )

    def _append_to_the_long_one(self) -> None:
        event = make_event(0, id=str(uuid.uuid4()))
        if self._ask("POST", f"/api/conversations/{LONG}/events/batch", json={"events": [event]}) is not None:
            self.appended_to_long.append(event["id"])

    def _read_the_page(self) -> None:
        """Read parts of the page: sections of large events and of a long conversation, and the inside of an event."""
        self._ask("GET", f"/ui/c/{LARGE}/events", params={"from": self._random.randrange(6)})
        self._ask("GET", f"/ui/c/{LONG}/events", params={"from": 50 * self._random.randrange(100)})
        event = make_event(self._random.randrange(1, 6))
        self._ask("GET", f"/ui/c/{LARGE}/body/{event['id']}", params={"whole": True})

    def _read_the_long_one(self) -> None:
        place = self._random.randrange(5000)
        self._ask("GET", f"/api/conversations/{LONG}/events/window", params={"around": place})
        self._ask(
            "GET", f"/api/conversations/{LONG}/events/search", params={"limit": 100, "sort_order": "TIMESTAMP_DESC"}
        )

    def _leave_the_large_one(self) -> None:
        """Begin to read large events, and go away."""
        way = self._random.choice(
            ["events/stream", "events/search", *(f"export?format={kind}" for kind in ("jsonl", "zip", "html"))]
        )
        with self._http.stream("GET", f"/api/conversations/{LARGE}/{way}") as answer:
            self.counted["requests"] += 1
            if answer.status_code in _IN_ORDER:
                next(answer.iter_raw())
                self.counted["left"] += 1
            elif answer.status_code not in _DOCUMENTED:
                self.wrong.append(f"{way}: {answer.status_code}")
