"""A direct way for the request that agents repeat most: a message to append.

FastAPI looks through a hundred routes, solves parameters, and checks the request and the answer. `DirectMessages` does
the same for a request in the usual form. Any other one, and one that is invalid, goes to the FastAPI route, which also
documents the path. `tests/api/routes/test_direct_message.py` checks that both answer alike.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import orjson
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import BaseRoute, Match
from starlette.types import Message, Receive, Scope, Send

from ...errors import InvalidId
from ...model.agent_server.message_request import MessageRequest
from ...model.ids import parse_conversation_id
from ...store.store import ConversationStore
from ..headers import join_header
from ..responses import Success, json_response

_match_path = re.compile(r"/api/conversations/([0-9a-fA-F-]{32,36})/events").fullmatch
_JSON = b"application/json"

Endpoint = Callable[[ConversationStore, str, MessageRequest], Awaitable[Success]]


class DirectMessages(BaseRoute):
    """Passes messages in the usual form directly to the endpoint of a FastAPI route, and others to that route."""

    def __init__(self, documented: APIRoute) -> None:
        self._documented = documented
        self._endpoint: Endpoint = documented.endpoint

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether a request may have the usual form. Metrics and errors name it by the FastAPI route."""
        if scope["type"] != "http" or scope["method"] != "POST" or join_header(scope, b"content-type") != _JSON:
            return Match.NONE, {}
        found = _match_path(scope["path"])
        if found is None:
            return Match.NONE, {}
        return Match.FULL, {"route": self._documented, "path_params": {"conversation_id": found[1]}}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Append the message, or pass the request on."""
        body = await Request(scope, receive).body()
        try:
            conversation_id = parse_conversation_id(scope["path_params"]["conversation_id"], exact=True)
            message = MessageRequest.model_validate(orjson.loads(body))
        except (InvalidId, ValueError):
            await self._documented.handle(scope, _again(body, receive), send)
            return
        done = await self._endpoint(scope["app"].state.store, conversation_id, message)
        answer = json_response(done.model_dump_json(exclude_none=True).encode())
        await answer(scope, receive, send)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that has the body again."""
    bodies: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return bodies.pop() if bodies else await receive()

    return receive_again
