"""Answers that several routes share: finished JSON, pages, warnings, and the end of a stream."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, Field
from starlette.responses import Response

from .. import trail
from ..errors import ConversationNotFound, StoreError
from ..model.ids import ConversationId, dashed
from ..store.admin.erase import Erased
from ..store.read.reader import StoreReader
from ..store.store import ConversationStore
from .headers import TEXT_INDEXED

log = logging.getLogger(__name__)

Warned = Annotated[
    str | None,
    Field(description="set if the index does not show the change yet; it will, so do not repeat the request"),
]


class Success(BaseModel):
    """The request succeeded, and the change is durable."""

    success: Literal[True] = True
    warning: Warned = None


class EraseAnswer(BaseModel):
    """The result of an erasure. `ids` are the erased conversations, or those that a dry run would erase."""

    ids: list[str]
    dry_run: bool = False
    searched: int = Field(default=0, description="the number of erased texts that were searched for in the raw bytes")
    still_in: list[str] = Field(default=[], description="the files that still hold one of these texts, such as backups")
    forks: list[str] = Field(default=[], description="conversations that were forked from an erased one")
    log_empty: bool | None = Field(
        default=None, description="false: another process used the index, and its write-ahead log was not emptied"
    )
    warning: str | None = Field(
        default=None, description="set if the files are erased, but the index may still have their texts"
    )


def make_erase_answer(erased: Erased) -> EraseAnswer:
    """Return the answer for a finished erasure."""
    return EraseAnswer(
        ids=[dashed(one) for one in erased.ids],
        searched=erased.searched,
        still_in=erased.still_in,
        forks=[dashed(one) for one in erased.forks],
        log_empty=erased.log_empty,
        warning=erased.warning,
    )


class Indexed(BaseModel):
    """The number of listed conversations and of all (if known). Sent only during the first build of an index."""

    conversations: int
    total: int | None


class TextIndexed(BaseModel):
    """The number of conversations whose text is indexed, and the number of all conversations."""

    conversations: int
    total: int


def set_text_indexed(response: Response, indexed: int, total: int) -> None:
    """Set the header that says how many conversations have their text in the index."""
    response.headers[TEXT_INDEXED] = f"{indexed}/{total}"


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
    """Answer a write with the conversation's ConversationInfo, and with `warning` if there is one."""
    trail.mention([dashed(conversation_id)])
    body, warning = await store.describe(conversation_id, warning, include_skills=include_skills)
    if warning is not None:
        body = b"%b,%b" % (body[:-1], orjson.dumps({"warning": warning})[1:])
    return json_response(body, status)


def progress_of(store: StoreReader) -> dict[str, object]:
    """Return the field `indexed` of a list's answer during the first build of an index, otherwise nothing."""
    building = store.index.building
    return {} if building is None else {"indexed": building._asdict()}


def page_response(items: Sequence[bytes], next_page_id: str | None, **more: object) -> Response:
    """Send a page of finished JSON items, the token of the next page, and `more` fields."""
    rest = orjson.dumps({"next_page_id": next_page_id, **more})
    pieces = [b","] * max(2 * len(items), 1)
    pieces[1::2] = items
    pieces[0] = b'{"items":['
    return json_response(b"".join((*pieces, b"],", rest[1:])))  # so the items are copied once


@contextmanager
def ending_stream(what: str) -> Iterator[None]:
    """End an event stream after an error of the store, and log the error.

    The answer has begun, so its status cannot change. The client gets the status when it connects again.
    """
    try:
        yield
    except ConversationNotFound:
        return
    except StoreError as error:
        log.warning("a stream of %s ended: %s", what, error)
