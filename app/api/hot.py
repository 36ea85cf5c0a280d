"""The short way for the requests that clients repeat all the time: a list page and a count.

FastAPI finds a route and solves its parameters anew for every request. Of a list page inside the server (0.43 ms) that
was 0.29 ms, while the page's SQL takes 0.04. So GETs of a few paths go straight to their endpoint, with what a query
string means kept from the last time. The FastAPI routes stay: they document these paths, and they answer whenever the
short way meets an error. Cost: two ways to one endpoint; `tests/api/test_hot.py` holds that both answer alike.

An answer is good until the index's state changes, which costs 6 microseconds to ask. Until then it is given again as it
was, or as 304 to a client that has it: clients ask for the same first page every few seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from fastapi import Response
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors import answer
from app.errors import QueryTooSlow, StoreError


class HotQuery(BaseModel):
    """The parameters of a path that is answered the short way."""

    repeated: ClassVar[frozenset[str]] = frozenset()
    """Those that may be given several times."""

    @property
    def of_the_index_alone(self) -> bool:
        """Whether the answer depends on nothing but the index: no file, and not the time of day."""
        return True


Endpoint = Callable[[Any, Any], Awaitable[Response]]
"""An endpoint that takes the store and one query model."""

_KEPT = 256
_KEPT_BYTES = 1024
_ANSWERS_BYTES = 8 << 20


class HotPaths:
    """ASGI middleware: GETs of `paths` go straight to an endpoint; everything else goes on to the application."""

    def __init__(self, app: ASGIApp, paths: Mapping[str, tuple[Endpoint, type[HotQuery]]]) -> None:
        self._app = app
        self._paths = paths
        self._answers = _Answers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        hot = self._paths.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if hot is None or len(scope["query_string"]) > _KEPT_BYTES:
            await self._app(scope, receive, send)
            return
        store = scope["app"].state.store
        state = store.index.find_state()
        asked = scope["path"], scope["query_string"]
        response = self._answers.find(state, asked)
        if response is None:
            endpoint, model = hot
            try:
                query = parse_query(model, scope["query_string"])
                response = await endpoint(store, query)
            except QueryTooSlow as error:
                await answer(error)(scope, receive, send)  # asked again, it would take as long again
                return
            except (StoreError, ValidationError):
                await self._app(scope, receive, send)
                return
            if state is not None and query.of_the_index_alone:
                self._answers.keep(state, asked, response)
        await _answer(response, scope, send)


async def _answer(response: Response, scope: Scope, send: Send) -> None:
    """Send an answer that may be sent again, so what is sent is a copy; middleware adds headers to it."""
    status, headers, body = response.status_code, response.raw_headers, response.body
    etag = response.headers.get("etag")
    if etag is not None and _has(scope, etag.encode()):
        status, body = 304, b""
        headers = [(name, value) for name, value in headers if name in _OF_A_304]
    await send({"type": "http.response.start", "status": status, "headers": [*headers]})
    await send({"type": "http.response.body", "body": body})


_OF_A_304 = (b"etag", b"cache-control")


def _has(scope: Scope, etag: bytes) -> bool:
    """Whether the client says that it has the answer with this ETag."""
    given = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"")
    return etag in (tag.strip().removeprefix(b"W/") for tag in given.split(b","))


class _Answers:
    """The answers that were given since the index last changed."""

    def __init__(self) -> None:
        self._state: str | None = None
        self._kept: dict[tuple[str, bytes], Response] = {}
        self._size_bytes = 0

    def find(self, state: str | None, asked: tuple[str, bytes]) -> Response | None:
        """Return the answer to the same question at the same state of the index, if it was kept."""
        return self._kept.get(asked) if state is not None and state == self._state else None

    def keep(self, state: str, asked: tuple[str, bytes], response: Response) -> None:
        """Keep an answer and give it its ETag. It may know more than `state`, never less: that was asked before."""
        response.headers["etag"] = f'"{state}"'
        response.headers["cache-control"] = "private, no-cache"
        if state != self._state or self._size_bytes > _ANSWERS_BYTES:
            self._state, self._kept, self._size_bytes = state, {}, 0
        self._kept[asked] = response
        self._size_bytes += len(response.body) + len(asked[1])


@lru_cache(maxsize=_KEPT)
def parse_query(model: type[HotQuery], query_string: bytes) -> HotQuery:
    """Return what a query string means: unknown parameters are ignored, of another that is repeated the last counts.

    Raises:
        ValidationError: a parameter is wrong.
    """
    given: dict[str, Any] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name in model.repeated:
            given.setdefault(name, []).append(value)
        else:
            given[name] = value
    return model.model_validate(given)
