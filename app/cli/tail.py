"""`convstore tail`."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

import orjson
import typer

from ..files.log.event_log import RawEvent
from ..store.store import ConversationStore
from .context import CommandContext
from .conversation_ids import IdArgument, resolve
from .options import IndexOption, StoreOption
from .output import print_event, shown_json
from .registration import OptionGroup


def _make_context(
    store: StoreOption = None,
    index: IndexOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
) -> CommandContext:
    return CommandContext(store, index, json)


def tail_command(
    conversation: IdArgument,
    context: Annotated[CommandContext, OptionGroup(_make_context, at_end=("index", "json"))],
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="The number of last events to show.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue with new events until Ctrl-C.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show long texts completely.")] = False,
) -> None:
    """Show the last events of a conversation and, with --follow, new ones.

    Example: convstore tail 45685019 --store workspace/conversations -f
    """
    context.run(lambda store: _tail(store, conversation, last, follow=follow, full=full, json=context.json))


async def _tail(store: ConversationStore, text: str, last: int, *, follow: bool, full: bool, json: bool) -> None:
    conversation_id = await resolve(store, text)
    log = await store.open_log(conversation_id)
    newest = None if last else await log.find_last()
    async with aclosing(log.read_last(last)) as events:
        async for event in events:
            if isinstance(event, RawEvent):
                _print(event, full=full, json=json)
                newest = event.name
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
    else:
        print_event(value, full=full)
