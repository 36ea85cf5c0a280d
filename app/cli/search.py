"""`convstore search`."""

from __future__ import annotations

import re
from html import unescape
from typing import Annotated

import typer
from rich.text import Text

from app.cli.context import SyncContextOptions
from app.cli.filters import FilterOptions
from app.cli.output import counted, out, print_json
from app.logs import printable
from app.model.hits import Hit, HitPage
from app.model.transcript import name_conversation
from app.store.read.reader import PAGE_MAX

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
    limit: Annotated[int, typer.Option(min=1, max=PAGE_MAX, help="The maximum number of hits to show.")] = 20,
    page: Annotated[str | None, typer.Option(help="The next_page_id of the previous page.", show_default=False)] = None,
) -> None:
    """Search titles, messages, thoughts, final answers and errors of all conversations.

    Example: convstore search 'lease renewal' --status error --since 2026-01-01 --store workspace/conversations
    """
    text = " ".join([*words, *([asked.q] if asked.q else [])])
    found = context.run_synced(lambda store: store.search_messages(text, asked, page_id=page, limit=limit))
    if context.json:
        print_json(found.as_json())
        return
    for hit in found.items:
        _print_hit(hit)
    _print_end(found)


def _print_hit(hit: Hit) -> None:
    fields = hit.as_json()
    heading = Text(f"{hit.conversation_id[:8]}  ", style="dim")
    heading.append(printable(name_conversation(hit.title, hit.preview)), style="bold")
    place = hit.source if hit.seq is None else f"{hit.source} in event {hit.seq}"
    heading.append(f"  {printable(place)}  {(fields['timestamp'] or '')[:16].replace('T', ' ')}", style="dim")
    out.print(heading)
    line = Text("  ")
    for number, piece in enumerate(_MARK.split(hit.snippet)):
        line.append(printable(unescape(piece)), style="bold reverse" if number % 2 else "")
    out.print(line)


def _print_end(found: HitPage) -> None:
    more = "; there are more (--page, or --limit)" if found.next_page_id else ""
    if found.truncated:
        more += "; only the newest 5,000 matches are ranked"
    if found.indexed < found.conversations:
        more += f"; the text of {found.conversations - found.indexed} conversations is still being read"
    out.print(f"{counted(len(found.items), 'hit')}{more}", style="dim")
