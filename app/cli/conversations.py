"""`convstore list`, `count` and `show`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
import typer
from rich.text import Text

from app.cli.filters import with_filters
from app.cli.output import (
    IndexOption,
    JsonOption,
    NoSyncOption,
    StoreOption,
    make_settings,
    opened,
    out,
    print_json,
    print_table,
    printable,
    run_async,
)
from app.cli.render import render_event
from app.model.facets import Facets, parse_facets
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId
from app.model.page import EventOrder, SortOrder
from app.settings import Settings
from app.store.read.event_reader import EventPage
from app.store.read.reader import PAGE_MAX
from app.store.store import ConversationStore

_STATUS_STYLES = {"error": "red", "stuck": "red", "running": "green", "waiting_for_confirmation": "yellow"}


@with_filters()
def list_command(
    asked: ConversationFilter,
    store: StoreOption = None,
    sort: Annotated[SortOrder, typer.Option(help="The order.")] = SortOrder.UPDATED_AT_DESC,
    limit: Annotated[int, typer.Option(min=0, help="The most conversations to list; 0 lists all.")] = 20,
    page: Annotated[str | None, typer.Option(help="next_page_id of the page before.", show_default=False)] = None,
    index: IndexOption = None,
    no_sync: NoSyncOption = False,
    json: JsonOption = False,
) -> None:
    """List conversations, the most recently updated first.

    Example: convstore list --store workspace/conversations --status error
    """
    run_async(_list(make_settings(store=store, index_url=index), asked, sort, limit, page, no_sync, json))


async def _list(
    settings: Settings,
    asked: ConversationFilter,
    order: SortOrder,
    limit: int,
    page: str | None,
    no_sync: bool,
    json: bool,
) -> None:
    async with opened(settings, no_sync=no_sync) as store:
        items: list[dict[str, Any]] = []
        while True:
            most = min(limit - len(items), PAGE_MAX) if limit else PAGE_MAX
            found = await store.list_conversations(asked, order=order, page_id=page, limit=most)
            items += [orjson.loads(body) for body in found.items]
            page = found.next_page_id
            if page is None or len(items) == limit:
                break
        total = await store.count_conversations(asked)
    if json:
        print_json({"items": items, "next_page_id": page})
        return
    print_table(
        ("ID", "STATUS", "UPDATED", ">EVENTS", ">COST", "TITLE"),
        (
            (
                item["id"][:8],
                Text(item["execution_status"], style=_STATUS_STYLES.get(item["execution_status"], "")),
                item["updated_at"][:16].replace("T", " "),
                str(item["event_count"]),
                f"{item['cost']:.2f}",
                "; ".join(filter(None, (item["title"], item.get("unreadable")))) or "(no title)",
            )
            for item in items
        ),
    )
    out.print(f"{len(items)} of {total} conversations", style="dim")


@with_filters()
def count_command(
    asked: ConversationFilter,
    store: StoreOption = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Count by status, model, workspace, agent_kind, tag, tag:KEY, day or month; several with commas."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="With --by: the most values of each.")] = 20,
    index: IndexOption = None,
    no_sync: NoSyncOption = False,
    json: JsonOption = False,
) -> None:
    """Count conversations under the filters of list, or by what they have.

    Example: convstore count --by model --since 2026-01-01 --store workspace/conversations
    """
    facets = parse_facets(",".join(by)) if by else []

    async def count(settings: Settings) -> Facets:
        async with opened(settings, no_sync=no_sync) as opened_store:
            return await opened_store.count_facets(facets, asked, limit=limit)

    found = run_async(count(make_settings(store=store, index_url=index)))
    if json:
        print_json(found.as_json() if by else {"count": found.count})
    elif not by:
        typer.echo(found.count)
    else:
        _print_facets(found)


def _print_facets(found: Facets) -> None:
    for name, counts in found.by.items():
        rest = (("(none)", counts.null), ("(others)", counts.other))
        rows = [*counts.values, *((label, number) for label, number in rest if number)]
        print_table((">COUNT", name.upper()), ((f"{number:,}", value) for value, number in rows))
        out.print()
    out.print(f"{found.count:,} conversations", style="dim")


def show_command(
    conversation: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    store: StoreOption = None,
    last: Annotated[int, typer.Option(min=0, help="Only the last events, this many; 0 shows all.")] = 0,
    full: Annotated[bool, typer.Option("--full", help="Show long texts whole.")] = False,
    index: IndexOption = None,
    no_sync: NoSyncOption = False,
    json: JsonOption = False,
) -> None:
    """Show one conversation: who said what, tools, results, status, cost.

    Example: convstore show 45685019 --store workspace/conversations --last 5
    """
    run_async(_show(make_settings(store=store, index_url=index), conversation, last, full, no_sync, json))


async def _show(settings: Settings, text: str, last: int, full: bool, no_sync: bool, json: bool) -> None:
    async with opened(settings, no_sync=no_sync) as store:
        conversation_id = await store.resolve(text)
        info = orjson.loads(await store.get_conversation(conversation_id))
        events: list[dict[str, Any]] = []
        unreadable = []
        async for page in _pages(store, conversation_id, last):
            events += [orjson.loads(raw) for raw in page.items]
            unreadable += [entry._asdict() for entry in page.unreadable]
    events.reverse()
    unreadable.reverse()
    if json:
        print_json({"conversation": info, "events": events, "unreadable": unreadable})
        return
    _print_heading(info)
    for event in events:
        for line in render_event(event, None if full else 12):
            out.print(line)
    for entry in unreadable:
        out.print(Text(printable(f"event {entry['seq']} cannot be shown: {entry['reason']}"), style="bold red"))


async def _pages(store: ConversationStore, conversation_id: ConversationId, most: int) -> AsyncIterator[EventPage]:
    """Give pages of events, the last events first, until there are `most` (0: all)."""
    given = 0
    token: str | None = None
    while True:
        limit = min(most - given, PAGE_MAX) if most else PAGE_MAX
        page = await store.list_events(conversation_id, order=EventOrder.TIMESTAMP_DESC, page_id=token, limit=limit)
        yield page
        given += len(page.items)
        token = page.next_page_id
        if token is None or given == most:
            return


def _print_heading(info: dict[str, Any]) -> None:
    out.print(Text(printable(info["title"] or "(no title)"), style="bold"))
    facts = {
        "id": info["id"],
        "status": info["execution_status"],
        "created": info["created_at"],
        "updated": info["updated_at"],
        "workspace": info["workspace"].get("working_dir"),
        "model": (info["agent"].get("llm") or {}).get("model"),
        "tags": ", ".join(f"{key}:{value}" for key, value in (info["tags"] or {}).items()),
        "events": info["event_count"],
        "cost": f"{info['cost']:.4f} ({info['tokens']} tokens)",
        "unreadable": info.get("unreadable"),
    }
    for name, value in facts.items():
        if value:
            out.print(Text(f"{name:<10} {printable(str(value))}", style="dim" if name != "unreadable" else "red"))
    out.print()
