"""Search, count and facets of conversations: the endpoints of the cached routes.

`app.api.routes.conversations` registers the same endpoints with FastAPI.
"""

from __future__ import annotations

import orjson
from pydantic import Field
from starlette.responses import Response

from ...model.hits import Hit
from ...model.page import SortOrder, View
from ...store.read.index_reader import PAGE_MAX
from ...store.read.reader import StoreReader
from ..cached_routes import CachedQuery, Endpoint
from ..query_filters import VIEW, FacetQuery, FilterQuery
from ..responses import json_response, page_response, progress_of, set_text_indexed


class SearchQuery(FilterQuery):
    """The parameters of search."""

    page_id: str | None = Field(default=None, description="`next_page_id` of the previous page")
    limit: int = Field(default=PAGE_MAX, gt=0, le=PAGE_MAX, description="the maximum number of items in the page")
    sort_order: SortOrder = SortOrder.CREATED_AT_DESC
    view: View = Field(default=View.FULL, description=VIEW)
    hits: int = Field(
        default=0,
        ge=0,
        le=10,
        description="with `q`: each item has `hits`, at most this many of its best matching messages",
    )
    include_skills: bool = Field(
        default=False, description="include agent.agent_context.skills; this opens the files of the page's items"
    )

    @property
    def depends_on_index_only(self) -> bool:
        """Whether the answer depends only on the index, not on a file or on the current time."""
        return super().depends_on_index_only and not self.include_skills


async def search_conversations(store: StoreReader, query: SearchQuery) -> Response:
    """List conversations. Reads only the index."""
    page = await store.list_conversations(
        query.conversation_filter,
        order=query.sort_order,
        page_id=query.page_id,
        limit=query.limit,
        include_skills=query.include_skills,
        view=query.view,
    )
    if query.q is None:
        return page_response(page.items, page.next_page_id, **progress_of(store))
    items = page.items
    if query.hits and query.q.strip():
        best = await store.list_best_hits(query.q, page.ids, query.hits, look_in=query.look_in)
        items = [_with_hits(item, best[one]) for item, one in zip(items, page.ids, strict=True)]
    indexed, total = await store.count_text()
    text_indexed = {"conversations": indexed, "total": total}
    more = {"truncated": page.truncated, "text_indexed": text_indexed, **progress_of(store)}
    response = page_response(items, page.next_page_id, **more)
    set_text_indexed(response, indexed, total)
    return response


def _with_hits(item: bytes, hits: list[Hit]) -> bytes:
    return b"%b,%b" % (item[:-1], orjson.dumps({"hits": [hit.as_short_json() for hit in hits]})[1:])


async def count_conversations(store: StoreReader, query: FilterQuery) -> Response:
    """Count conversations under the filters of search."""
    response = json_response(b"%d" % await store.count_conversations(query.conversation_filter))
    if query.q is not None:
        set_text_indexed(response, *await store.count_text())
    return response


async def count_facets(store: StoreReader, query: FacetQuery) -> Response:
    """Count conversations by status, model, tag and so on, under the filters of search."""
    amounts = list(dict.fromkeys(query.sum))
    found = await store.count_facets(query.facets, query.conversation_filter, limit=query.limit, amounts=bool(amounts))
    response = json_response(orjson.dumps(found.as_json(amounts) | progress_of(store)))
    if query.q is not None:
        set_text_indexed(response, *await store.count_text())
    return response


CACHED_ROUTES: dict[str, tuple[Endpoint, type[CachedQuery]]] = {
    "/api/conversations/search": (search_conversations, SearchQuery),
    "/api/conversations/count": (count_conversations, FilterQuery),
    "/api/conversations/facets": (count_facets, FacetQuery),
}
"""The direct routes whose answers `app.api.cached_routes` caches."""
