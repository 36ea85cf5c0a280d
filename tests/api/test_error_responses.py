"""Every error has one body, and every code one status."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from app import Settings, errors
from app.api.error_responses import STATUS_OF
from app.errors import StoreError
from app.model.filters import ConversationFilter, EventFilter, digest
from app.model.page import Cursor, EventOrder, SortOrder, encode_token
from tests.api.clients import raising
from tests.builders import make_conversation, make_id
from tests.conftest import serving

ONE = f"/api/conversations/{make_id(1)}"
NOBODY = f"/api/conversations/{make_id(9)}"
SEARCH = "/api/conversations/search"

OTHER_QUERY = encode_token(Cursor(1, make_id(1)), digest(SortOrder.CREATED_AT, ConversationFilter()))
OTHER_LOG = encode_token(Cursor(1, "a"), digest(EventOrder.TIMESTAMP, EventFilter(), scope=make_id(2)))

FAILURES: list[tuple[str, int, str]] = [
    (f"{SEARCH}?page_id=nonsense", 400, "invalid_page_token"),
    (f"{SEARCH}?page_id={OTHER_QUERY}", 400, "invalid_page_token"),
    (f"{ONE}/events/search?page_id=nonsense", 400, "invalid_page_token"),
    (f"{ONE}/events/search?page_id={OTHER_LOG}", 400, "invalid_page_token"),
    (NOBODY, 404, "conversation_not_found"),
    (f"{NOBODY}/events/search", 404, "conversation_not_found"),
    (f"{NOBODY}/events/count", 404, "conversation_not_found"),
    (f"{NOBODY}/events/abc", 404, "conversation_not_found"),
    (f"{NOBODY}/agent_final_response", 404, "conversation_not_found"),
    (f"{ONE}/events/abc", 404, "event_not_found"),
    ("/api/nothing", 404, "not_found"),
    ("/api/conversations/not-an-id", 422, "invalid_parameter"),
    (f"/api/conversations/{make_id(1)[:-1]}/events/search", 422, "invalid_parameter"),
    ("/api/conversations", 422, "invalid_parameter"),
    ("/api/conversations?ids=abc", 422, "invalid_parameter"),
    ("/api/conversations?" + "&".join(f"ids={make_id(i)}" for i in range(100)), 422, "invalid_parameter"),
    (f"{SEARCH}?limit=0", 422, "invalid_parameter"),
    (f"{SEARCH}?limit=101", 422, "invalid_parameter"),
    (f"{SEARCH}?status=nope", 422, "invalid_parameter"),
    (f"{SEARCH}?sort_order=TITLE_ASC", 422, "invalid_parameter"),
    ("/api/conversations/count?status=nope", 422, "invalid_parameter"),
    (f"{ONE}/events/search?timestamp__gte=yesterday", 422, "invalid_parameter"),
]


def subclasses(error: type[StoreError]) -> list[type[StoreError]]:
    return [error, *(one for child in error.__subclasses__() for one in subclasses(child))]


def test_every_code_has_a_status() -> None:
    assert set(STATUS_OF) == {error.code for error in subclasses(StoreError)}


@pytest.mark.parametrize(("path", "status", "code"), FAILURES)
async def test_a_failing_request_has_the_one_error_body(root: Path, path: str, status: int, code: str) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        answer = await client.get(path)
    assert answer.status_code == status
    assert (answer.json().keys(), answer.json()["code"]) == ({"detail", "code"}, code)
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("PUT", SEARCH, {}, (405, "method_not_allowed")),
        ("GET", SEARCH, {"Host": "evil.example"}, (400, "host_not_allowed")),
        ("GET", SEARCH, {"X-Session-API-Key": "wrong"}, (401, "unauthorized")),
    ],
)
async def test_a_refused_request_has_the_one_error_body(
    root: Path, method: str, path: str, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    async with serving(Settings(store=root)) as client:
        answer = await client.request(method, path, headers=headers)
    assert answer.headers["Content-Type"] == "application/json"
    assert (answer.status_code, answer.json()["code"], answer.json().keys()) == (*expected, {"detail", "code"})


async def test_a_message_names_what_was_asked_for(root: Path) -> None:
    make_conversation(root)
    async with serving(Settings(store=root)) as client:
        event = (await client.get(f"{ONE}/events/abc")).json()["detail"]
        token = (await client.get(f"{SEARCH}?page_id={OTHER_QUERY}")).json()["detail"]
    assert event.endswith("has no event 'abc'")
    assert "belongs to another query" in token


async def ask_with(failure: Exception, root: Path, monkeypatch: pytest.MonkeyPatch) -> httpx.Response:
    async with serving(Settings(store=root)) as client:
        monkeypatch.setattr("app.index.conversation_list.count_conversations", raising(failure))
        return await client.get("/api/conversations/count")


async def test_a_busy_index_asks_to_come_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = await ask_with(errors.IndexBusy("held by another"), root, monkeypatch)
    assert (answer.status_code, answer.headers["Retry-After"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "1")
    assert answer.json() == {"detail": "held by another", "code": "index_busy"}


async def test_an_unexpected_error_tells_no_internals(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = await ask_with(RuntimeError("/secret/path"), root, monkeypatch)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "/secret/path" not in answer.text
