"""The app answers what agent-server 1.58 was recorded to answer, over thirty conversations that it wrote.

What may differ: null and absent are the same, the app may send further fields, rows with equal sort keys may come in
any order, page tokens are followed and not compared, and the body of an error is the app's own. Left out are the
conversations that were `running`, which 1.58 rewrites at its start; those without meta.json are in none of its lists.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import orjson
import pytest

from app import Settings
from tests.conftest import DATA, serving

LISTS = "/api/conversations/search"
MANY = "/api/conversations"
IGNORED = {"runtime_info"}
UNORDERED = {"forgotten_event_ids"}


class Recorded(NamedTuple):
    """One request to 1.58 and its answer."""

    path: str
    status: int
    body: Any

    @property
    def route(self) -> str:
        return urlsplit(self.path).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query))


def recorded() -> list[Recorded]:
    return [Recorded(**orjson.loads(line)) for line in gzip.open(DATA / "responses.jsonl.gz")]


def differences(want: Any, got: Any, where: str = "") -> Iterator[str]:
    """Say what the recorded `want` has that `got` has not."""
    if isinstance(want, dict) and isinstance(got, dict):
        for name, value in want.items():
            if value is None or name in IGNORED:
                continue
            if name in UNORDERED and isinstance(got.get(name), list):
                yield from differences(sorted(value), sorted(got[name]), f"{where}/{name}")
            else:
                yield from differences(value, got.get(name), f"{where}/{name}")
    elif isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for place, (one, other) in enumerate(zip(want, got, strict=True)):
            yield from differences(one, other, f"{where}[{place}]")
    elif want != got:
        yield f"{where}: {str(got)[:80]!r}, recorded {str(want)[:80]!r}"


class Replay:
    """Asks again what was recorded. `hidden` are the ids that cannot be compared: three running, three without meta."""

    def __init__(self, store: Path, client: httpx.AsyncClient) -> None:
        self.client = client
        self.asked = 0
        self.tokens: dict[str, str] = {}
        states = [orjson.loads(path.read_bytes()) for path in store.glob("*/base_state.json")]
        self.status = {state["id"]: state["execution_status"] for state in states}
        without_meta = {state.parent.name for state in store.glob("*/base_state.json")}
        without_meta -= {meta.parent.name for meta in store.glob("*/meta.json")}
        self.hidden = {
            i for i, status in self.status.items() if status == "running" or i.replace("-", "") in without_meta
        }

    async def compare(self, request: Recorded) -> list[str]:
        if any(part in self.hidden for part in request.route.split("/")):
            return []
        self.asked += 1
        query = request.query
        if "page_id" in query:
            query["page_id"] = self.tokens.pop(query["page_id"])
        several = request.route == MANY
        answer = await self.client.get(request.path if several else f"{request.route}?{urlencode(query)}")
        if answer.status_code != request.status:
            return [f"status {answer.status_code}, recorded {request.status}"]
        return list(self.body_differences(request, answer.json())) if request.status < 400 else []

    def body_differences(self, request: Recorded, got: Any) -> Iterator[str]:
        if request.route == LISTS:
            return self.list_differences(request, got)
        if request.route == MANY:
            return self.many_differences(request.body, got)
        if request.route.endswith("/events/search"):
            return self.event_differences(request.body, got)
        return differences(request.body, got)

    def list_differences(self, request: Recorded, got: Any) -> Iterator[str]:
        order = request.query.get("sort_order", "CREATED_AT_DESC")
        field = order.removesuffix("_DESC").lower()
        wanted_status = request.query.get("status")
        theirs = {row["id"]: row for row in request.body["items"] if row["id"] not in self.hidden}
        mine = {row["id"]: row for row in got["items"]}
        theirs = {i: row for i, row in theirs.items() if wanted_status in (None, self.status[i])}
        if request.query["limit"] == "100":
            assert got["next_page_id"] is None
            yield from differences(sorted(theirs), sorted(mine.keys() - self.hidden), " ids")
        keys = [row[field] for row in got["items"]]
        yield from differences(sorted(keys, reverse=order.endswith("_DESC")), keys, f" order by {field}")
        for i in theirs.keys() & mine.keys():
            yield from differences(theirs[i], mine[i], f"/{i}")

    def many_differences(self, want: list[Any], got: list[Any]) -> Iterator[str]:
        yield from differences(len(want), len(got), " answers")
        for one, other in zip(want, got, strict=False):
            if one is None or one["id"] not in self.hidden:
                yield from differences(one, other)

    def event_differences(self, want: Any, got: Any) -> Iterator[str]:
        yield from differences(want["next_page_id"] is None, got["next_page_id"] is None, " is the last page")
        if want["next_page_id"] and got["next_page_id"]:
            self.tokens[want["next_page_id"]] = got["next_page_id"]
        yield from differences(want["items"], got["items"], "/items")


REQUESTS = recorded()
ROUTES: dict[str, tuple[Callable[[str], bool], int]] = {
    "lists": (lambda route: route == LISTS, 21),
    "several": (lambda route: route == MANY, 1),
    "one": (lambda route: route not in {LISTS, MANY} and "/events/" not in route, 32),
    "events": (lambda route: "/events/" in route, 201),
}


def test_every_recorded_request_is_replayed_by_one_test() -> None:
    chosen = [request for request in REQUESTS for admits, _ in ROUTES.values() if admits(request.route)]
    assert (len(REQUESTS), [r.path for r in chosen]) == (296, [r.path for r in REQUESTS])


@pytest.mark.parametrize("routes", ROUTES)
async def test_answers_are_the_recorded_ones(corpus: Path, routes: str) -> None:
    admits, number = ROUTES[routes]
    async with serving(Settings(store=corpus, timezone="UTC")) as client:
        replay = Replay(corpus, client)
        found = {r.path: told for r in REQUESTS if admits(r.route) and (told := await replay.compare(r))}
    assert (replay.asked, found) == (number, {})
