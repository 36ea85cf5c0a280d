"""`convstore list`, `count` and `show`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import orjson
import typer

from ..files.log.event_log import RawEvent
from ..logs import printable
from ..model.facets import Facets, parse_facets
from ..model.page import SortOrder
from ..model.transcript import name_conversation
from ..store.read.index_reader import PAGE_MAX
from ..store.store import ConversationStore
from .context import SyncContextOptions, SyncDirContextOptions
from .conversation_ids import IdArgument
from .filters import FilterOptions
from .output import Cell, out, print_event, print_json, print_json_members, print_table

_STATUS_STYLES = {"error": "red", "stuck": "red", "running": "green", "waiting_for_confirmation": "yellow"}


def list_command(
    asked: FilterOptions,
    context: SyncDirContextOptions,
    sort: Annotated[SortOrder, typer.Option(help="The sort order.")] = SortOrder.UPDATED_AT_DESC,
    limit: Annotated[int, typer.Option(min=0, help="The maximum number of conversations to list; 0 lists all.")] = 20,
    page: Annotated[str | None, typer.Option(help="The next_page_id of the previous page.", show_default=False)] = None,
) -> None:
    """List conversations, most recently updated first.

    Example: convstore list --store workspace/conversations --status error
    """

    async def read(store: ConversationStore) -> tuple[list[dict[str, Any]], str | None, int]:
        items: list[dict[str, Any]] = []
        page_id = page
        while True:
            most = min(limit - len(items), PAGE_MAX) if limit else PAGE_MAX
            found = await store.list_conversations(asked, order=sort, page_id=page_id, limit=most)
            items += [orjson.loads(body) for body in found.items]
            page_id = found.next_page_id
            if page_id is None or len(items) == limit:
                return items, page_id, await store.count_conversations(asked)

    items, next_page_id, total = context.run_synced(read)
    if context.json:
        print_json({"items": items, "next_page_id": next_page_id})
        return
    print_table(
        ("ID", "STATUS", "UPDATED", ">EVENTS", ">COST", "TITLE"),
        (
            (
                item["id"][:8],
                Cell(item["execution_status"], _STATUS_STYLES.get(item["execution_status"], "")),
                item["updated_at"][:16].replace("T", " "),
                str(item["event_count"]),
                f"{item['cost']:.2f}",
                "; ".join(filter(None, (item["title"] or item["preview"], item.get("unreadable")))) or "(no title)",
            )
            for item in items
        ),
    )
    out.print(f"{len(items)} of {total} conversations", style="dim")


def count_command(
    asked: FilterOptions,
    context: SyncDirContextOptions,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Count by status, model, workspace, agent_kind, tag, tag:KEY, day or month (separated by commas)."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="With --by: the maximum number of values of each.")] = 20,
) -> None:
    """Count conversations that match filters, in total or by a field.

    Example: convstore count --by model --since 2026-01-01 --store workspace/conversations
    """
    facets = parse_facets(",".join(by)) if by else []
    found = context.run_synced(lambda store: store.count_facets(facets, asked, limit=limit))
    if context.json:
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
    conversation: IdArgument,
    context: SyncContextOptions,
    last: Annotated[int, typer.Option(min=0, help="The number of last events to show; 0 shows all.")] = 0,
    full: Annotated[bool, typer.Option("--full", help="Show long texts completely.")] = False,
    outline: Annotated[
        bool, typer.Option("--outline", help="Show only your messages, the numbers of steps after each, and errors.")
    ] = False,
) -> None:
    """Show one conversation: messages, tools, results, status, cost.

    Example: convstore show 45685019 --store workspace/conversations --last 5
    """
    if outline:
        context.run_synced(lambda store: _show_outline(store, conversation, json=context.json))
        return
    context.run_synced(lambda store: _show(store, conversation, last, full=full, json=context.json))


async def _show(store: ConversationStore, text: str, last: int, *, full: bool, json: bool) -> None:
    """Print a conversation. Each event is read when it is printed, because all of them may not fit into memory."""
    conversation_id = await store.resolve(text)
    info: dict[str, Any] = orjson.loads(await store.get_conversation(conversation_id))
    log = await store.open_log(conversation_id)
    unreadable: list[dict[str, Any]] = []

    async def read() -> AsyncGenerator[Any, None]:
        async with aclosing(log.read_last(last or None)) as events:
            async for event in events:
                if isinstance(event, RawEvent):
                    yield orjson.loads(event.raw)
                else:
                    unreadable.append(event._asdict())

    async with aclosing(read()) as events:
        if json:
            await print_json_members({"conversation": info}, "events", events, lambda: {"unreadable": unreadable})
            return
        _print_heading(info)
        async for event in events:
            print_event(event, full=full)
    for entry in unreadable:
        out.print(printable(f"event {entry['seq']} cannot be shown: {entry['reason']}"), style="bold red")


async def _show_outline(store: ConversationStore, text: str, *, json: bool) -> None:
    """Print the outline of a conversation. It comes from the index, so no event is read."""
    conversation_id = await store.resolve(text)
    outline = await store.get_outline(conversation_id)
    if json:
        print_json(outline.as_json())
        return
    _print_heading(orjson.loads(await store.get_conversation(conversation_id)))
    lines = ((line, printable(f"{'  ' if line.sub else ''}{line.text}")) for line in outline.list_lines())
    print_table(
        (">EVENT", "WHAT"), ((f"{line.seq:,}", Cell(words, "red" if line.bad else "")) for line, words in lines)
    )


def _print_heading(info: dict[str, Any]) -> None:
    out.print(printable(name_conversation(info["title"], info["preview"])), style="bold")
    facts = {
        "id": info["id"],
        "preview": info["preview"] if info["title"] else None,
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
            out.print(f"{name:<10} {printable(str(value))}", style="dim" if name != "unreadable" else "red")
    out.print()
