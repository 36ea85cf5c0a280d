"""The routes of the page: the shell and its files, which hold no data, and the fragments, which need the key."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import Field
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from ..api.auth import PAGE_PATHS
from ..api.headers import find_base_path
from ..api.params import IdInPath, Store
from ..api.query_filters import AnyId, FilterQuery
from ..api.routes.upkeep import find_age_s, find_findings, find_usage
from ..api.streamed import put_aside, until_client_leaves
from ..index.conversation_list import Page
from ..index.event_outline import Outline
from ..model.facets import Facet, FacetKind
from ..model.filters import ConversationFilter, LookIn
from ..model.hits import describe_searched, list_searched
from ..model.ids import SEQ_MAX, ConversationId, dashed
from ..model.page import SortOrder, View
from ..model.periods import Period
from ..model.times import format_us, to_us
from ..settings import Settings
from ..store.admin.usage import By
from ..store.read.event_reader import EventReader
from ..store.read.reader import StoreReader
from . import conversation_view, list_view, overview
from .conversation_view import SECTION
from .event_blocks import PAIR_DISTANCE, clear_block
from .event_bodies import cut_text
from .rows import Row, make_list_row, make_row
from .templates import find_static_version, render

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types convstore"
)
_SHELL_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_ROWS = 50
_HITS = 2
_EDITS = 500
_FACETS = (Facet(FacetKind.STATUS), Facet(FacetKind.MODEL), Facet(FacetKind.TAG))
_WORKSPACES = 500
_CHILDREN = 200

_IS_VERSION = re.compile("[0-9a-f]{16}")

router = APIRouter(prefix="/ui", include_in_schema=False, default_response_class=HTMLResponse)


class ListQuery(FilterQuery):
    """The filters and the order of the list, as in the address of the page."""

    sort_order: SortOrder | None = Field(default=None)
    page_id: str | None = None
    active: str | None = Field(default=None, description="with an event `today`, or `2026-11-02..2026-11-08`")
    tz: str = Field(default="UTC", max_length=64, description="the browser's time zone")

    @property
    def zone(self) -> tzinfo:
        """The browser's time zone, or UTC if it is unknown here."""
        try:
            return ZoneInfo(self.tz)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return UTC

    @property
    def today(self) -> date:
        """The day in the browser's time zone."""
        return datetime.now(self.zone).date()

    @property
    def resolved(self) -> FilterQuery:
        """The filters alone, with `active` as times."""
        given = self.model_dump(
            by_alias=True, exclude_unset=True, exclude={*ListQuery.model_fields} - {*FilterQuery.model_fields}
        )
        days = list_view.parse_days(self.active, self.today) if self.active else None
        if days is not None:
            given["event_at__gte"], given["event_at__lt"] = list_view.find_span(days, self.zone)
        return FilterQuery(**given)


@router.get("/list")
async def get_list(request: Request, store: Store, query: Annotated[ListQuery, Query()]) -> Response:
    """Render the filters with their counts, and the first rows. For a following page, render its rows alone."""
    resolved = query.resolved
    asked = resolved.conversation_filter
    question = (query.q or "").strip()
    order = _order(query)
    listed = asked if question or asked.parent else replace(asked, folded=True)
    page = await store.list_conversations(listed, order=order, page_id=query.page_id, limit=_ROWS, view=View.ROW)
    rows = await _make_rows(store, page, question, query.look_in)
    if query.page_id:
        return _fragment(request, "rows.html", rows)
    facets = await store.count_facets(_FACETS, asked, limit=12)
    workspaces = await store.count_facets([Facet(FacetKind.WORKSPACE)], asked, limit=_WORKSPACES)
    switches = {
        "archived": replace(asked, archived=True),
        "pinned": replace(asked, pinned=True),
        "sub-conversations": replace(asked, top_level=False, subagents=None),
        "unreadable": replace(asked, unreadable=True),
    }
    counts = {name: await store.count_conversations(one) for name, one in switches.items()}
    context = list_view.make_list(request.url.query, facets, workspaces.by["workspace"], counts, order) | rows
    sums = await store.get_sums(asked)
    context["cost"] = sums.cost if sums.priced else None
    context["filter"] = resolved.model_dump(mode="json", by_alias=True, exclude_unset=True)
    root = store.settings.root
    nearby = None if page.ids else await asyncio.to_thread(list_view.find_nearby, root)
    context |= {"root": str(root), "nearby": nearby, "building": store.index.building}
    context["hits"] = list_view.show_hits(await store.count_matches(asked)) if question else ""
    searched = list_searched(query.look_in, titles=True, outputs=store.settings.search_tools)
    context["searched"], context["not_searched"] = describe_searched(searched)
    return _fragment(request, "list.html", context)


@router.get("/list/activity")
async def get_activity(request: Request, store: Store, query: Annotated[ListQuery, Query()]) -> Response:
    """Render in how many matching conversations there were events in each week, and today, whatever `active` says."""
    asked = query.model_copy(update={"active": None}).resolved.conversation_filter
    begin, _ = list_view.find_span((list_view.begin_of_weeks(query.today), query.today), query.zone)
    weeks = await store.list_activity(asked, Period.WEEK, since_us=to_us(begin), zone=query.zone)
    first, end = list_view.find_span((query.today, query.today), query.zone)
    today = replace(asked, event_at_gte_us=to_us(first), event_at_lt_us=to_us(end))
    number = await store.count_conversations(today)
    context = list_view.make_activity(request.url.query, weeks, query.today, number)
    return _fragment(request, "activity.html", context)


@router.get("/children/{conversation_id}")
async def get_children(request: Request, store: Store, conversation_id: IdInPath) -> Response:
    """Render the rows of a conversation's children, archived ones and those of sub-agents too, the oldest first."""
    page = await _list_children(store, conversation_id)
    return _fragment(request, "rows.html", await _make_rows(store, page._replace(next_page_id=None)))


async def _list_children(store: StoreReader, conversation_id: str) -> Page:
    asked = ConversationFilter(parent=ConversationId(conversation_id), archived=None, subagents=None)
    return await store.list_conversations(asked, order=SortOrder.CREATED_AT, limit=_CHILDREN, view=View.ROW)


async def _make_rows(
    store: StoreReader, page: Page, question: str = "", look_in: LookIn = LookIn.SAID
) -> dict[str, object]:
    hits = await store.list_best_hits(question, page.ids, _HITS, look_in=look_in) if question else {}
    return list_view.make_rows(page, hits, await store.list_families(page.ids), question)


@router.get("/c/{conversation_id}")
async def get_conversation(
    request: Request,
    store: Store,
    conversation_id: IdInPath,
    said: bool = False,
    at: Annotated[int | None, Query(ge=-1, le=SEQ_MAX)] = None,
) -> Response:
    """Render a conversation's facts and its outline. With `at`, also the sections around this event of the log.

    -1, and a number behind the end of the log, is the last turn.
    """
    wanted = ConversationId(conversation_id)
    row = make_row(await store.get_conversation(wanted))
    outline = await store.get_outline(wanted)
    log = await store.open_log(wanted)
    starts = await _list_starts(log, row, outline, said=said)
    context = conversation_view.make_head(row, outline)
    context |= {"said": said, "resume": conversation_view.find_resume(store.settings.root, row)}
    context |= {"ranges": conversation_view.join_starts(starts), "parts": [], "rest": None}
    if at is not None and starts:
        seq = at if 0 <= at <= outline.last_seq else context["open_at"]
        span = conversation_view.find_around(starts, seq, outline.last_seq)
        sections = _make_sections(store, log, conversation_id, *span, said=said)
        context |= await until_client_leaves(request, sections)
    return await asyncio.to_thread(_render_sections, request, "conversation.html", context)


async def _list_starts(log: EventReader, row: Row, outline: Outline, *, said: bool) -> Sequence[int]:
    """Return the first numbers of the sections that are not empty."""
    if not said:
        whole = outline.total == outline.last_seq + 1
        return range(0, outline.total, SECTION) if whole else await log.list_starts(SECTION)
    starts = await log.list_starts(SECTION, said=True)
    if row.shape == "waiting":  # its last action is a question
        actions = await log.list_of_kind("ActionEvent", outline.last_seq - PAIR_DISTANCE, outline.last_seq)
        starts = sorted({*starts, *(SECTION * (one.seq // SECTION) for one in actions[-1:])})
    return starts


@router.get("/c/{conversation_id}/events")
async def get_events(
    request: Request,
    store: Store,
    conversation_id: IdInPath,
    start: Annotated[int, Query(alias="from", ge=0, le=SEQ_MAX)],
    limit: Annotated[int, Query(ge=1, le=4 * SECTION)] = SECTION,
    said: bool = False,
) -> Response:
    """Render sections of the log, or with `said` only what was said in them."""
    log = await store.open_log(ConversationId(conversation_id))
    sections = _make_sections(store, log, conversation_id, start, limit, said=said)
    context = await until_client_leaves(request, sections)
    return await asyncio.to_thread(_render_sections, request, "sections.html", context)


def _render_sections(request: Request, name: str, context: dict[str, Any]) -> Response:
    answer = _fragment(request, name, context)
    for block in conversation_view.list_blocks(context["parts"]):
        clear_block(block)
    return answer


async def _make_sections(
    store: StoreReader, log: EventReader, conversation_id: str, start: int, limit: int, *, said: bool
) -> dict[str, Any]:
    context = await conversation_view.make_sections(log, conversation_id, start, limit, said=said)
    blocks = conversation_view.list_blocks(context["parts"])
    tasks = [one for one in blocks if one.prompt or one.child_id]
    if tasks:
        page = await _list_children(store, conversation_id)
        conversation_view.link_children(tasks, map(make_list_row, page.items))
    return context


@router.get("/c/{conversation_id}/body/{event_id}")
async def get_body(
    request: Request,
    store: Store,
    conversation_id: IdInPath,
    event_id: str,
    observation: str = "",
    whole: bool = False,
) -> Response:
    """Render the inside of a folded event."""
    log = await store.open_log(ConversationId(conversation_id))
    render = partial(_fragment, request, "body.html")
    body = conversation_view.render_inside(log, conversation_id, event_id, observation, render, whole=whole)
    return await until_client_leaves(request, body)


@router.get("/overview")
async def get_overview(
    request: Request,
    store: Store,
    days: Annotated[int, Query(ge=0, le=10_000)] = 30,
    offset: Annotated[int, Query(gt=-1440, lt=1440, description="minutes east of UTC")] = 0,
) -> Response:
    """Render totals, the hours of work, the costliest conversations and workspaces, and the health of the store."""
    settings: Settings = request.app.state.settings
    context = await overview.make_overview(store, settings, await find_findings(request), days, offset)
    context["checked_at"] = format_us(time.time_ns() // 1000 - int(1e6 * find_age_s(request)))
    return _fragment(request, "overview.html", context)


@router.get("/overview/disk")
async def get_disk(request: Request) -> Response:
    """Render the disk usage by month, which takes long to measure, so that the overview does not wait for it."""
    return _fragment(request, "disk.html", overview.make_disk(await find_usage(request, By.MONTH)))


@router.get("/edits")
async def get_edits(request: Request, store: Store, path: Annotated[str, Query(max_length=4096)]) -> Response:
    """Render the changes of a file in all conversations."""
    found = await store.list_edits([path], _EDITS)
    items = [(one, "" if one.time_us is None else format_us(one.time_us)) for one in found]
    return _fragment(request, "edits.html", {"path": path, "items": items})


@router.get("/trash")
async def get_trash(request: Request, store: Store, offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0) -> Response:
    """Render a page of the trash."""
    entries, total = await store.list_trash(offset, _ROWS)
    items = [(dashed(one.id), title, format_us(one.deleted_at_us)) for one, title in entries]
    more = offset + _ROWS if offset + _ROWS < total else None
    return _fragment(request, "trash.html", {"items": items, "total": total, "more": more})


@router.get("/compare")
async def get_compare(request: Request, store: Store, a: AnyId, b: AnyId) -> Response:
    """Render two conversations side by side."""
    sides = []
    for one in (a, b):
        wanted = ConversationId(one)
        row = make_row(await store.get_conversation(wanted))
        head = conversation_view.make_head(row, await store.get_outline(wanted))
        work = (await store.open_log(wanted)).work_on_final_response(cut_text)
        response = await until_client_leaves(request, work)
        sides.append(head | {"response": response})
    return _fragment(request, "compare.html", {"sides": sides})


def _fragment(request: Request, name: str, context: Mapping[str, object]) -> Response:
    html = render(name, {**context, "base": find_base_path(request.scope)})
    return put_aside([html.encode("utf-8", "replace")], "text/html")


def _order(query: ListQuery) -> SortOrder:
    if query.sort_order is not None:
        return query.sort_order
    return SortOrder.RELEVANCE if query.q and query.q.strip() else SortOrder.UPDATED_AT_DESC


class _Files(StaticFiles):
    """The files of the page, at `/VERSION/NAME`. A browser keeps those of this version, and no others."""

    async def get_response(self, path: str, scope: Scope) -> Any:  # noqa: ANN401 - starlette's own type
        version, _, name = path.rpartition("/") if path.count("/") == 1 else ("", "", path)
        known = _IS_VERSION.fullmatch(version) is not None
        response = await super().get_response(name if known else path, scope)
        current = version == find_static_version() and response.status_code in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if current else "no-cache"
        return response


async def _get_shell(request: Request) -> HTMLResponse:
    path = request.scope["path"]
    html = _render_shell(
        path if path in PAGE_PATHS else "/c/", find_base_path(request.scope), needs_key=request.app.state.keys.required
    )
    return HTMLResponse(html, headers=_SHELL_HEADERS)


@lru_cache(maxsize=64)
def _render_shell(path: str, base: str, *, needs_key: bool) -> str:
    return render("shell.html", {"path": path, "needs_key": needs_key, "base": base})


ROUTES: list[BaseRoute] = [
    *(Route(path, _get_shell) for path in (*PAGE_PATHS, "/c/{conversation_id}")),
    Mount("/static", _Files(packages=[(__package__, "static")])),
    *router.routes,
]
"""The shell is a route for each page, so that an address can be opened, copied and bookmarked."""
