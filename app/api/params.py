"""Parameters that several routes share: the store, ids, times and paging."""

from __future__ import annotations

import re
from datetime import datetime
from functools import partial
from typing import Annotated, cast

from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from ..errors import InvalidId
from ..model.ids import ConversationId, parse_conversation_id
from ..model.page import View
from ..store.read.reader import StoreReader
from ..store.store import ConversationStore

_ZONE_AFTER_SPACE = re.compile(r"(:\d\d(?:\.\d+)?) (\d\d:?\d\d)$")


def _parse_id(text: str, *, exact: bool = False) -> ConversationId:
    try:
        return parse_conversation_id(text, exact=exact)
    except InvalidId as error:
        raise ValueError(str(error)) from error


def _restore_plus(given: object) -> object:
    """Restore the plus of a time's zone offset. Unescaped in a URL, it arrives as a space."""
    return _ZONE_AFTER_SPACE.sub(r"\1+\2", given) if isinstance(given, str) else given


async def _get_store(request: Request) -> StoreReader:
    return cast(StoreReader, request.app.state.store)


async def get_writable_store(request: Request) -> ConversationStore:
    """Return the store with its write methods. A GET or HEAD must not depend on this."""
    if request.method in ("GET", "HEAD"):
        raise TypeError("a GET handler must not write")
    return cast(ConversationStore, request.app.state.store)


Store = Annotated[StoreReader, Depends(_get_store)]
WritableStore = Annotated[ConversationStore, Depends(get_writable_store)]
ID_SCHEMA = {
    "type": "string",
    "pattern": "^([0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12})$",
}
AnyId = Annotated[str, AfterValidator(_parse_id), WithJsonSchema(ID_SCHEMA)]
_IN_PATH = Path(description="32 hexadecimal digits, with or without dashes")
IdInPath = Annotated[AnyId, _IN_PATH]
IdToWrite = Annotated[str, AfterValidator(partial(_parse_id, exact=True)), WithJsonSchema(ID_SCHEMA), _IN_PATH]
"""The id of a conversation to change. Only a GET understands an id with other characters around it."""
Moment = Annotated[datetime, BeforeValidator(_restore_plus)]
PageId = Annotated[str | None, Query(description="`next_page_id` of the previous page")]
Limit = Annotated[int, Query(description="the maximum number of items in the page", gt=0, le=100)]
VIEW = "full: ConversationInfo; row: about 500 bytes, without agent, metrics and settings (see ConversationRow)"
ViewParameter = Annotated[View, Query(description=VIEW)]
IncludeSkills = Annotated[
    bool, Query(description="include agent.agent_context.skills; this opens the files of the page's items")
]
