"""`convstore rename`, `tag`, `fork` and `delete`.

Each owns the conversation for the moment; while a server or an agent-server is writing to it, it is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated

import orjson
import typer

from app.cli.naming import do_each, resolve, resolve_all, tell
from app.cli.options import DryRunOption, ForceOption, YesOption, confirm
from app.cli.output import (
    IndexOption,
    JsonOption,
    StoreOption,
    counted,
    make_settings,
    print_json,
    print_warning,
    run_async,
)
from app.errors import InvalidConversation
from app.model.ids import dashed
from app.model.validation import check_title
from app.settings import Settings
from app.store.store import ConversationStore
from app.store.write.backlog import Created, Done

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")]
IdsArgument = Annotated[list[str], typer.Argument(metavar="ID", help="Their ids, or the beginnings of them.")]


@asynccontextmanager
async def opened_for_writing(settings: Settings) -> AsyncIterator[ConversationStore]:
    """Open the store; its index is made first where it knows no conversation."""
    async with ConversationStore.open(settings) as store:
        if not (await store.get_status())[1].conversations:
            await store.sync()
        yield store


def rename_command(
    conversation: IdArgument,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="Its new title, 1 to 200 characters.")],
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Set the title of a conversation.

    Example: convstore rename 45685019 "Retry with jitter" --store workspace/conversations
    """

    async def rename(settings: Settings) -> None:
        async with opened_for_writing(settings) as opened:
            found = await resolve(opened, conversation)
            done = Done()
            if dry_run:
                await opened.require_writable(found)
                check_title(title)
            else:
                async with opened.writer(found) as writer:
                    done = await writer.set_title(title)
            tell("renamed", [found], done.warning, dry_run=dry_run, json=json)

    run_async(rename(make_settings(store=store, index_url=index)))


def tag_command(
    conversation: IdArgument,
    tags: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="Tags to set; KEY= removes one.")],
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Set and remove tags of a conversation; its other tags stay.

    Example: convstore tag 45685019 area=store done= --store workspace/conversations
    """

    async def tag(settings: Settings) -> dict[str, str]:
        async with opened_for_writing(settings) as opened:
            found = await resolve(opened, conversation)
            if dry_run:
                await opened.require_taggable(found, lambda now: _changed(now, tags))
                info = orjson.loads(await opened.get_conversation(found))
                return _changed(info["tags"] or {}, tags)
            async with opened.writer(found) as writer:
                done = await writer.change_tags(lambda now: _changed(now, tags))
                print_warning(done.warning)
                return writer.tags

    now = run_async(tag(make_settings(store=store, index_url=index)))
    if json:
        print_json({"tags": now, "dry_run": dry_run})
    else:
        told = " ".join(f"{key}={value}" for key, value in sorted(now.items()))
        typer.echo(f"would be tagged: {told}" if dry_run else told)


def _changed(before: Mapping[str, str], given: Sequence[str]) -> dict[str, str]:
    tags = dict(before)
    for one in given:
        key, equals, value = one.partition("=")
        if not equals:
            raise InvalidConversation(f"{one!r} is no tag; write key=value, or key= to remove one")
        if value:
            tags[key] = value
        else:
            tags.pop(key, None)
    return tags


def fork_command(
    conversation: IdArgument,
    store: StoreOption = None,
    title: Annotated[str | None, typer.Option(help="The title of the copy.")] = None,
    from_event: Annotated[str | None, typer.Option(help="Copy only the branch up to this event's id.")] = None,
    keep_metrics: Annotated[bool, typer.Option("--keep-metrics", help="Keep cost and tokens spent.")] = False,
    dry_run: DryRunOption = False,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Copy a conversation, whole or up to an event, and print the id of the copy.

    Example: convstore fork 45685019 --title "Another try" --store workspace/conversations
    """

    async def fork(settings: Settings) -> Created:
        async with opened_for_writing(settings) as opened:
            found = await resolve(opened, conversation)
            return await opened.fork(
                found,
                title=title,
                from_event_id=from_event,
                reset_metrics=not keep_metrics,
                dry_run=dry_run,
            )

    made = run_async(fork(make_settings(store=store, index_url=index)))
    print_warning(made.warning)
    if json:
        print_json({"id": None if dry_run else dashed(made.id), "dry_run": dry_run})
    else:
        typer.echo("it would be forked" if dry_run else dashed(made.id))


def delete_command(
    conversations: IdsArgument,
    store: StoreOption = None,
    permanent: Annotated[bool, typer.Option("--permanent", help="Remove it for good, not into the trash.")] = False,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Move conversations into the trash; `convstore restore` puts them back. Asks before --permanent.

    Example: convstore delete 45685019 --store workspace/conversations
    """

    async def delete(settings: Settings) -> None:
        async with opened_for_writing(settings) as opened:
            ids = await resolve_all(opened, conversations, force=force)
            if permanent and not dry_run:
                confirm(f"Remove {counted(len(ids), 'conversation')} for good?", yes=yes)
            act = partial(opened.delete, permanent=permanent, force=force)
            await do_each("deleted", ids, act, dry_run=dry_run, json=json)

    run_async(delete(make_settings(store=store, index_url=index)))
