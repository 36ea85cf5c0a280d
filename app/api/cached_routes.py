"""A cache of the answers to GETs that clients repeat often: a page of the list, a count, facets.

Parsed query strings are cached, too. Answers are cached until the state of the index changes; reading the state takes
6 us. A client that already has the answer gets 304, because clients request the same first page every few seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache, lru_cache, partial
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..store.read.reader import StoreReader
from .headers import has_etag


class CachedQuery(BaseModel):
    """The query parameters of a cached route."""

    repeated: ClassVar[frozenset[str]] = frozenset()
    """The parameters that may be repeated."""

    @property
    def depends_on_index_only(self) -> bool:
        """Whether the answer depends only on the index, not on a file or on the current time."""
        return True


Endpoint = Callable[[Any, Any], Awaitable[Response]]
"""An endpoint whose arguments are the store and one query model."""

_PAGE_ID = "page_id"
"""The parameter with which each page of a walk differs from the others. Any text is valid."""

_QUERIES_MAX = 256
_QUERY_MAX_BYTES = 1024
_ANSWERS_MAX_BYTES = 8 << 20
_HEADERS_OF_304 = (b"etag", b"cache-control")


class CachedRoutes:
    """Calls the endpoints of GETs, each with its query, and caches the answers."""

    def __init__(self) -> None:
        self._cache = _AnswerCache()

    async def answer(self, endpoint: Endpoint, model: type[CachedQuery], scope: Scope, _body: bytes) -> ASGIApp | None:
        """Return the answer of an endpoint whose query is a `model`, or None if the query is invalid or long."""
        if len(scope["query_string"]) > _QUERY_MAX_BYTES:
            return None
        store: StoreReader = scope["app"].state.store
        # no ETag and no cached answer during the first build, because they would outlast it
        state = (
            None if store.index.building else await store.index.find_state()
        )  # read before the answer is made, so that the answer is never older than this state
        key = scope["path"], scope["query_string"]
        response = self._cache.find(state, key)
        if response is None:
            try:
                query = parse_query(model, scope["query_string"])
                response = await endpoint(store, query)
            except ValidationError:
                return None
            if state is not None and query.depends_on_index_only:
                self._cache.put(state, key, response)
        return partial(_send, response)


async def _send(response: Response, scope: Scope, _receive: Receive, send: Send) -> None:
    status, headers, body = response.status_code, response.raw_headers, response.body
    etag = next((value for name, value in headers if name == b"etag"), None)
    if etag is not None and has_etag(scope, etag):
        status, body = 304, b""
        headers = [(name, value) for name, value in headers if name in _HEADERS_OF_304]
    # a copy, because other middleware adds headers to it and the cached answer may be sent again
    await send({"type": "http.response.start", "status": status, "headers": [*headers]})
    await send({"type": "http.response.body", "body": body})


class _AnswerCache:
    """The answers that were made since the index last changed."""

    def __init__(self) -> None:
        self._state: str | None = None
        self._answers: dict[tuple[str, bytes], Response] = {}
        self._size_bytes = 0

    def find(self, state: str | None, key: tuple[str, bytes]) -> Response | None:
        """Return the answer for a path and query string at this state of the index, or None."""
        return self._answers.get(key) if state is not None and state == self._state else None

    def put(self, state: str, key: tuple[str, bytes], response: Response) -> None:
        """Store an answer and set its ETag. Answers of another state, and the oldest beyond the limit, are dropped.

        The oldest go one by one, so that their memory is used again. To free much at once and to get it anew took
        longer than the SQL of a page.
        """
        response.raw_headers += [(b"etag", f'"{state}"'.encode()), (b"cache-control", b"private, no-cache")]
        if state != self._state:
            self._state, self._answers, self._size_bytes = state, {}, 0
        if key not in self._answers:
            self._size_bytes += len(response.body) + len(key[1])
        self._answers[key] = response
        while self._size_bytes > _ANSWERS_MAX_BYTES:
            oldest = next(iter(self._answers))
            self._size_bytes -= len(self._answers.pop(oldest).body) + len(oldest[1])


@lru_cache(maxsize=_QUERIES_MAX)
def parse_query(model: type[CachedQuery], query_string: bytes) -> CachedQuery:
    """Parse a query string as FastAPI does: unknown parameters are ignored, and the last of a repeated one counts.

    Raises:
        ValidationError: a parameter is invalid.
    """
    known = _names_of(model)
    given: dict[str, str | tuple[str, ...]] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name in model.repeated:
            given[name] = (*given.get(name, ()), value)
        elif known is None or name in known:
            given[name] = value
    page_id = given.pop(_PAGE_ID, None) if known is not None else None
    query = _validate(model, tuple(given.items()))
    return query if page_id is None else query.model_copy(update={_PAGE_ID: page_id})


@cache
def _names_of(model: type[CachedQuery]) -> frozenset[str] | None:
    """Return the names of the parameters of a model, or None if it refuses others."""
    if model.model_config.get("extra") == "forbid":
        return None
    return frozenset(field.alias or name for name, field in model.model_fields.items())


@lru_cache(maxsize=_QUERIES_MAX)
def _validate(model: type[CachedQuery], given: tuple[tuple[str, str | tuple[str, ...]], ...]) -> CachedQuery:
    """Return the query with these parameters. The pages of a walk have the same, apart from the page's token."""
    return model.model_validate({name: [*value] if isinstance(value, tuple) else value for name, value in given})
