"""The one way past FastAPI: a table of the requests that clients repeat most, or send first.

FastAPI looks through a hundred routes, solves parameters, and checks the request and the answer. This takes longer than
most answers do. So a request in its usual form goes directly to the store. Any other one, such as one with another
parameter or an invalid value, goes to the FastAPI route, which also documents the path. The cost is that an endpoint
has two entries; `tests/api/routes/test_direct_routes.py` and others check that both answer alike.

A server answers these requests before it has imported FastAPI, so this module imports little.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import NamedTuple
from urllib.parse import parse_qsl

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...errors import StoreError
from ...model.agent_server.message_request import MessageRequest
from ...model.filters import EventFilter
from ...model.ids import ConversationId, find_conversation_id
from ...model.page import EventOrder
from ...store.read.index_reader import PAGE_MAX
from ...store.read.reader import StoreReader
from ...store.store import ConversationStore
from ..cached_routes import CachedRoutes
from ..error_responses import note_conflict, store_error_response
from ..headers import join_header
from ..responses import json_response
from .event_pages import respond_with_page
from .lists import CACHED_ROUTES

Answer = Callable[[Scope, bytes], Awaitable[ASGIApp | None]]
"""From a request and its body to the answer, or None if the request is for the FastAPI route.

A GET is given no body. A conversation's id is in the path parameters.
"""

_ID = "conversation_id"
_ONE = f"/api/conversations/{{{_ID}}}"
_ANY_EVENT = EventFilter()
_ORDERS = {order.value: order for order in EventOrder}
_match_path = re.compile(r"/api/conversations/([0-9A-Fa-f-]{32,36})(/.*)?").fullmatch
_match_limit = re.compile("[1-9][0-9]?|100").fullmatch


class DirectRoute(NamedTuple):
    """A direct way. Metrics, errors and the audit trail name it by its path, which is that of the FastAPI route."""

    path: str
    answer: Answer


class DirectRoutesMiddleware:
    """Answers what the table has, and passes all other requests on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        answer = CachedRoutes().answer
        lists = {("GET", path): partial(answer, *endpoint) for path, endpoint in CACHED_ROUTES.items()}
        self._routes = {asked: DirectRoute(asked[1], way) for asked, way in (lists | _ROUTES).items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        route = self._find_route(scope) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        body = b""
        if scope["method"] != "GET":
            body = await _read_body(receive)
            receive = _again(body, receive)
        answer: ASGIApp | None
        try:
            answer = await route.answer(scope, body)
        except StoreError as error:
            note_conflict(scope["app"].state.metrics.note, error)
            answer = store_error_response(error, scope["method"], route.path)
        await (answer or self._app)(scope, receive, send)

    def _find_route(self, scope: Scope) -> DirectRoute | None:
        method, path = scope["method"], scope["path"]
        match = _match_path(path)
        if match is None:  # a path with a brace may spell a pattern of the table
            return None if "{" in path else self._routes.get((method, path))
        route = self._routes.get((method, f"{_ONE}{match[2] or ''}"))
        wanted = find_conversation_id(match[1])
        if route is None or wanted is None:
            return None
        scope["path_params"] = {_ID: wanted}
        return route


async def _read_body(receive: Receive) -> bytes:
    """Return the body of a request. Starlette's own way takes a twentieth of the time of an append in this thread."""
    pieces: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that has the body again."""
    bodies: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return bodies.pop() if bodies else await receive()

    return receive_again


async def _answer_health(_scope: Scope, _body: bytes) -> ASGIApp:
    return json_response(b'{"status":"ok"}')


async def _answer_ready(scope: Scope, _body: bytes) -> ASGIApp | None:
    if scope["query_string"]:
        return None
    store: StoreReader = scope["app"].state.store
    await store.require_ready()
    return json_response(b'{"status":"ready"}')


async def _get_conversation(scope: Scope, _body: bytes) -> ASGIApp | None:
    if scope["query_string"]:
        return None
    store: StoreReader = scope["app"].state.store
    return json_response(await store.get_conversation(scope["path_params"][_ID]))


async def _search_events(scope: Scope, _body: bytes) -> ASGIApp | None:
    query = _parse_page_query(scope["query_string"])
    if query is None:
        return None
    store: StoreReader = scope["app"].state.store
    log = await store.open_log(scope["path_params"][_ID])
    return respond_with_page(log, await log.begin_page(_ANY_EVENT, *query))


class _PageQuery(NamedTuple):
    order: EventOrder
    page_id: str | None
    limit: int


@lru_cache(maxsize=256)
def _parse_page_query(query_string: bytes) -> _PageQuery | None:
    """Return the order, page and limit of a page of events, or None if anything else is asked for, or asked oddly."""
    given = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    named = dict(given)
    order = _ORDERS.get(named.pop("sort_order", EventOrder.TIMESTAMP))
    limit = named.pop("limit", str(PAGE_MAX))
    page_id = named.pop("page_id", None)
    if named or len(given) != len(dict(given)) or order is None or not _match_limit(limit):
        return None
    return _PageQuery(order, page_id, int(limit))


async def _send_message(scope: Scope, body: bytes) -> ASGIApp | None:
    if join_header(scope, b"content-type") != b"application/json":
        return None
    try:
        message = MessageRequest.model_validate(orjson.loads(body))
    except ValueError:
        return None
    if message.run:
        return None
    warning = await append_message(scope["app"].state.store, scope["path_params"][_ID], message)
    return json_response(orjson.dumps({"success": True} if warning is None else {"success": True, "warning": warning}))


async def append_message(
    store: ConversationStore, conversation_id: ConversationId, message: MessageRequest
) -> str | None:
    """Append a message, and return the warning for the answer, if there is one."""
    async with store.writer(conversation_id) as conversation:
        return (await conversation.append_message(message)).warning


_ROUTES: dict[tuple[str, str], Answer] = {
    ("GET", "/alive"): _answer_health,
    ("GET", "/health"): _answer_health,
    ("GET", "/ready"): _answer_ready,
    ("GET", _ONE): _get_conversation,
    ("GET", f"{_ONE}/events/search"): _search_events,
    ("POST", f"{_ONE}/events"): _send_message,
}
"""The ways of which no answer is cached."""
