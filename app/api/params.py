"""Parameters that several routes share: the store, ids in paths, and paging."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Path, Query, Request

from ..model.page import View
from ..store.read.reader import StoreReader
from ..store.store import ConversationStore
from .query_filters import VIEW, AnyId, ExactId


async def _get_store(request: Request) -> StoreReader:
    return cast(StoreReader, request.app.state.store)


async def get_writable_store(request: Request) -> ConversationStore:
    """Return the store with its write methods. A GET or HEAD must not depend on this."""
    if request.method in ("GET", "HEAD"):
        raise TypeError("a GET handler must not write")
    return cast(ConversationStore, request.app.state.store)


Store = Annotated[StoreReader, Depends(_get_store)]
WritableStore = Annotated[ConversationStore, Depends(get_writable_store)]
_IN_PATH = Path(description="32 hexadecimal digits, with or without dashes")
IdInPath = Annotated[AnyId, _IN_PATH]
IdToWrite = Annotated[ExactId, _IN_PATH]
PageId = Annotated[str | None, Query(description="`next_page_id` of the previous page")]
Limit = Annotated[int, Query(description="the maximum number of items in the page", gt=0, le=100)]
ViewParameter = Annotated[View, Query(description=VIEW)]
IncludeSkills = Annotated[
    bool, Query(description="include agent.agent_context.skills; this opens the files of the page's items")
]
