"""`convstore search`."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import Annotated

import typer

from ..logs import printable
from ..model.filters import ConversationFilter, LookIn
from ..model.hits import Hit, HitPage, describe_searched
from ..model.transcript import name_conversation
from ..store.read.index_reader import PAGE_MAX
from ..store.store import ConversationStore
from .context import SyncContextOptions
from .conversation_ids import resolve
from .filters import FilterOptions
from .output import counted, out, print_json, styled

_MARK = re.compile(r"<mark>(.*?)</mark>", re.DOTALL)


def search_command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="WORDS", help='Words, "exact phrases", -excluded words, OR; the last word may be incomplete.'
        ),
    ],
    asked: FilterOptions,
    context: SyncContextOptions,
    within: Annotated[
        str | None,
        typer.Option(
            "--in",
            metavar="ID",
            help="Search only this conversation. Hits are in the order of its log.",
            show_default=False,
        ),
    ] = None,
    in_tools: Annotated[
        bool, typer.Option("--in-tools", help="Search also in what tools did, like --look-in all.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=PAGE_MAX, help="The maximum number of hits to show.")] = 20,
    page: Annotated[str | None, typer.Option(help="The next_page_id of the previous page.", show_default=False)] = None,
) -> None:
    """Search titles, messages, thoughts, final answers and errors of all conversations.

    With --in-tools, also commands, paths and errors of tools. With --in, only one conversation, in the order of its
    events.

    Example: convstore search 'lease renewal' --status error --since 2026-01-01 --store workspace/conversations
    """
    text = " ".join([*words, *([asked.q] if asked.q else [])])
    if in_tools:
        asked = replace(asked, look_in=LookIn.ALL)
    if within is not None and replace(asked, q=None, look_in=LookIn.SAID) != ConversationFilter():
        raise typer.BadParameter("--in searches one conversation; leave out the filters")

    async def search(store: ConversationStore) -> HitPage:
        if within is None:
            return await store.search_messages(text, asked, page_id=page, limit=limit)
        wanted = await resolve(store, within)
        return await store.find_in_conversation(wanted, text, look_in=asked.look_in, page_id=page, limit=limit)

    found = context.run_synced(search)
    if context.json:
        print_json(found.as_json())
        return
    for hit in found.items:
        _print_hit(hit)
    _print_end(found)


def _print_hit(hit: Hit) -> None:
    fields = hit.as_json()
    name = printable(name_conversation(hit.title, hit.preview))
    place = hit.source if hit.seq is None else f"{hit.source} in event {hit.seq}"
    where = f"  {printable(place)}  {(fields['timestamp'] or '')[:16].replace('T', ' ')}"
    out.print(styled(f"{hit.conversation_id[:8]}  ", "dim") + styled(name, "bold") + styled(where, "dim"))
    pieces = [printable(unescape(piece)) for piece in _MARK.split(hit.snippet)]
    marked = (styled(piece, "bold reverse" if number % 2 else "") for number, piece in enumerate(pieces))
    out.print(f"  {''.join(marked)}")


def _print_end(found: HitPage) -> None:
    more = "; there are more (--page, or --limit)" if found.next_page_id else ""
    if found.truncated:
        more += "; only the newest 5,000 matches are ranked"
    if found.indexed < found.conversations:
        more += f"; the text of {found.conversations - found.indexed} conversations is still being read"
    if not found.items:
        more += f"; {_describe_searched(found.searched)}"
    of = "" if found.total in (None, len(found.items)) else f" of {found.total:,}"
    out.print(f"{counted(len(found.items), 'hit')}{of}{more}", style="dim")


def _describe_searched(searched: tuple[str, ...]) -> str:
    """Return which texts were searched, which were not, and how to search these, too."""
    some, others = describe_searched(searched)
    if "said" not in searched or "tools" not in searched:
        hint = " (--look-in all)"
    else:
        hint = " (CONVSTORE_SEARCH_TOOLS)" if others else ""
    return f"searched: {some}{f'; not searched: {others}{hint}' if others else ''}"
