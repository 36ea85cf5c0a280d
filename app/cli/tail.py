"""`convstore tail`."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

import orjson
import typer

from app.cli.naming import resolve
from app.cli.output import IndexOption, StoreOption, make_settings, out, run_async, shown_json
from app.cli.render import render_event
from app.files.log.event_log import RawEvent
from app.settings import Settings
from app.store.store import ConversationStore

_SHOWN_LINES = 12


def tail_command(
    conversation: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    store: StoreOption = None,
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="How many of the last events to show.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with the events to come, until Ctrl-C.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Show long texts whole.")] = False,
    index: IndexOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
) -> None:
    """Show the last events of a conversation and, with --follow, those to come.

    Example: convstore tail 45685019 --store workspace/conversations -f
    """
    run_async(_tail(make_settings(store=store, index_url=index), conversation, last, follow, full, json))


async def _tail(settings: Settings, text: str, last: int, follow: bool, full: bool, json: bool) -> None:
    async with ConversationStore.open(settings) as store:
        conversation_id = await resolve(store, text)
        log = await store.open_log(conversation_id)
        events = await log.list_last(last) if last else []
        newest = events[-1].name if events else None if last else await log.find_last()
        for event in events:
            if event.unreadable is None:
                _print(event, full=full, json=json)
        if not follow:
            return
        async with aclosing(store.follow(conversation_id, after=newest)) as batches:
            async for batch in batches:
                for event in batch:
                    _print(event, full=full, json=json)


def _print(event: RawEvent, *, full: bool, json: bool) -> None:
    value = orjson.loads(event.raw)
    if json:
        typer.echo(shown_json(orjson.dumps(value)))
        return
    for line in render_event(value, None if full else _SHOWN_LINES):
        out.print(line)
