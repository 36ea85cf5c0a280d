"""What the routes share: how ids are parsed, how the store is reached, how bytes are sent."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, cast

import orjson
from fastapi import Depends, Path, Query, Request, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema

from app.errors import InvalidId
from app.model.ids import ConversationId, parse_conversation_id
from app.store.read.reader import StoreReader
from app.store.store import ConversationStore

_ZONE_AFTER_SPACE = re.compile(r"(:\d\d(?:\.\d+)?) (\d\d:?\d\d)$")


def _parse(text: str) -> ConversationId:
    try:
        return parse_conversation_id(text)
    except InvalidId as error:
        raise ValueError(str(error)) from error


def _with_plus(given: object) -> object:
    """Give a time's zone the plus back that somebody typed into an address: not escaped, it comes as a space."""
    return _ZONE_AFTER_SPACE.sub(r"\1+\2", given) if isinstance(given, str) else given


async def _store(request: Request) -> StoreReader:
    return cast(StoreReader, request.app.state.store)


async def get_writable(request: Request) -> ConversationStore:
    """Return the store with its writing methods; what answers a GET gets none."""
    if request.method in ("GET", "HEAD"):
        raise TypeError("what answers a GET must not write")
    return cast(ConversationStore, request.app.state.store)


Store = Annotated[StoreReader, Depends(_store)]
WritableStore = Annotated[ConversationStore, Depends(get_writable)]
ID_SCHEMA = {
    "type": "string",
    "pattern": "^([0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12})$",
}
AnyId = Annotated[str, AfterValidator(_parse), WithJsonSchema(ID_SCHEMA)]
IdInPath = Annotated[AnyId, Path(description="32 hexadecimal digits, with or without dashes")]
Moment = Annotated[datetime, BeforeValidator(_with_plus)]
PageId = Annotated[str | None, Query(description="next_page_id of the page before")]
Limit = Annotated[int, Query(description="the most items in the page", gt=0, le=100)]
IncludeSkills = Annotated[bool, Query(description="send agent.agent_context.skills too; opens the page's files")]


Warned = Annotated[
    str | None,
    Field(description="only when the index does not show it yet; it will by itself: do not repeat the request"),
]


class ErrorBody(BaseModel):
    """Every error's body. `detail` is a text, or for wrong parameters a list of what is wrong with each."""

    detail: str | list[dict[str, Any]]
    code: str


class TextIndexed(BaseModel):
    """Of how many conversations the text is known, and how many there are."""

    conversations: int
    total: int


INDEXED_HEADER = "X-Text-Indexed"
"""Of how many conversations the text is known, and how many there are: `1000/2500`."""


def tell_indexed(response: Response, indexed: int, total: int) -> None:
    """Have the header of an answer to a search say how far the text is known."""
    response.headers[INDEXED_HEADER] = f"{indexed}/{total}"


def json_response(body: bytes, status: int = 200) -> Response:
    """Send finished JSON."""
    return Response(body, status, media_type="application/json")


async def written_response(
    store: ConversationStore,
    conversation_id: ConversationId,
    warning: str | None,
    *,
    include_skills: bool = False,
    status: int = 200,
) -> Response:
    """Answer a write with the ConversationInfo of what was written, and with a `warning` only if there is one."""
    body, warning = await store.describe(conversation_id, warning, include_skills=include_skills)
    if warning is not None:
        body = b"%b,%b" % (body[:-1], orjson.dumps({"warning": warning})[1:])
    return json_response(body, status)


def page_response(items: Iterable[bytes], next_page_id: str | None, **more: object) -> Response:
    """Send a page: finished items, the token of the next page, and further fields."""
    rest = orjson.dumps({"next_page_id": next_page_id, **more})
    return json_response(b'{"items":[%b],%b' % (b",".join(items), rest[1:]))
