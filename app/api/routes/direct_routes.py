"""A direct way for two GETs of one conversation that clients repeat: the conversation, and a page of its events.

FastAPI takes longer to match the route and to resolve its parameters than the answer takes. So a plain request goes
directly to the store. A request with another parameter, or with an unusual value, goes to the FastAPI route, which also
documents the path; `tests/api/routes/test_direct_routes.py` checks that both ways give the same answers.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ...errors import StoreError
from ...model.filters import EventFilter
from ...model.ids import ConversationId, find_conversation_id
from ...model.page import EventOrder
from ...store.read.index_reader import PAGE_MAX
from ...store.read.reader import StoreReader
from ..error_responses import store_error_response
from ..responses import json_response
from .event_pages import respond_with_page

_EVENTS = "/events/search"
_ANY_EVENT = EventFilter()
_ORDERS = {order.value: order for order in EventOrder}
_match_path = re.compile(rf"/api/conversations/([0-9A-Fa-f-]{{32,36}})({_EVENTS})?").fullmatch
_match_limit = re.compile("[1-9][0-9]?|100").fullmatch


class DirectRoute(NamedTuple):
    """A route with the pattern of its path, as FastAPI's routes have it. Metrics and errors name it."""

    path: str


_CONVERSATION = DirectRoute("/api/conversations/{conversation_id}")
_PAGE = DirectRoute(f"{_CONVERSATION.path}{_EVENTS}")


class _PageQuery(NamedTuple):
    order: EventOrder
    page_id: str | None
    limit: int


class DirectRoutesMiddleware:
    """Answers plain GETs of a conversation and of a page of its events, and passes all other requests on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        asked = _find_question(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if asked is None:
            await self._app(scope, receive, send)
            return
        wanted, query = asked
        scope["route"] = route = _CONVERSATION if query is None else _PAGE
        store: StoreReader = scope["app"].state.store
        response: Response
        try:
            response = await _respond(store, wanted, query)
        except StoreError as error:
            response = store_error_response(error, scope["method"], route.path)
        await response(scope, receive, send)


def _find_question(scope: Scope) -> tuple[ConversationId, _PageQuery | None] | None:
    """Return the conversation, and the page of its events if one is asked for; or None if this is no plain question."""
    match = _match_path(scope["path"])
    wanted = find_conversation_id(match[1]) if match else None
    if match is None or wanted is None:
        return None
    if not match[2]:
        return None if scope["query_string"] else (wanted, None)
    query = _parse_page_query(scope["query_string"])
    return None if query is None else (wanted, query)


async def _respond(store: StoreReader, wanted: ConversationId, query: _PageQuery | None) -> Response:
    if query is None:
        return json_response(await store.get_conversation(wanted))
    log = await store.open_log(wanted)
    return respond_with_page(log, await log.begin_page(_ANY_EVENT, *query))


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
