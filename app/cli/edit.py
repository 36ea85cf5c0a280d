"""`convstore rename`, `tag`, `fork`, `archive`, `unarchive`, `pin` and `unpin`.

Each command owns the conversation while it writes. It fails if a server or an agent-server owns the conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated

import orjson
import typer

from .. import trail
from ..errors import InvalidConversation
from ..model.ids import dashed
from ..model.validation import check_title
from ..store.store import ConversationStore
from ..store.write.backlog import Created, Done
from .context import ContextOptions
from .conversation_ids import IdArgument, IdsArgument, do_each, print_done, resolve, resolve_all
from .options import DryRunOption, ForceOption
from .output import print_json, print_warning


def rename_command(
    conversation: IdArgument,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="The new title, 1 to 200 characters.")],
    context: ContextOptions,
    dry_run: DryRunOption = False,
) -> None:
    """Set the title of a conversation.

    Example: convstore rename 45685019 "Retry with jitter" --store workspace/conversations
    """

    async def rename(store: ConversationStore) -> None:
        found = await resolve(store, conversation)
        done = Done()
        if dry_run:
            await store.require_writable(found)
            check_title(title)
        else:
            trail.mention([dashed(found)])
            async with store.writer(found) as writer:
                done = await writer.set_title(title)
        print_done("renamed", [found], done.warning, dry_run=dry_run, json=context.json)

    context.run_edit(rename)


def tag_command(
    conversation: IdArgument,
    tags: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="Tags to set; KEY= removes a tag.")],
    context: ContextOptions,
    dry_run: DryRunOption = False,
) -> None:
    """Set and remove tags of a conversation. Other tags stay.

    Example: convstore tag 45685019 area=store done= --store workspace/conversations
    """

    async def tag(store: ConversationStore) -> dict[str, str]:
        found = await resolve(store, conversation)
        if dry_run:
            await store.require_taggable(found, lambda now: _change_tags(now, tags))
            info = orjson.loads(await store.get_conversation(found))
            return _change_tags(info["tags"] or {}, tags)
        trail.mention([dashed(found)])
        async with store.writer(found) as writer:
            done = await writer.change_tags(lambda now: _change_tags(now, tags))
            print_warning(done.warning)
            return writer.tags

    now = context.run_edit(tag)
    if context.json:
        print_json({"tags": now, "dry_run": dry_run})
    else:
        told = " ".join(f"{key}={value}" for key, value in sorted(now.items()))
        typer.echo(f"would be tagged: {told}" if dry_run else told)


def _change_tags(before: Mapping[str, str], given: Sequence[str]) -> dict[str, str]:
    tags = dict(before)
    for one in given:
        key, equals, value = one.partition("=")
        if not equals:
            raise InvalidConversation(f"{one!r} is not a tag; write key=value, or key= to remove a tag")
        if value:
            tags[key] = value
        else:
            tags.pop(key, None)
    return tags


def fork_command(
    conversation: IdArgument,
    context: ContextOptions,
    title: Annotated[str | None, typer.Option(help="The title of the copy.")] = None,
    from_event: Annotated[str | None, typer.Option(help="Copy only the branch up to this event's id.")] = None,
    keep_metrics: Annotated[bool, typer.Option("--keep-metrics", help="Keep the source's cost and tokens.")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Copy a conversation completely, or up to an event, and print the id of the copy.

    Example: convstore fork 45685019 --title "Another try" --store workspace/conversations
    """

    async def fork(store: ConversationStore) -> Created:
        found = await resolve(store, conversation)
        if not dry_run:
            trail.mention([dashed(found)])
        return await store.fork(
            found,
            title=title,
            from_event_id=from_event,
            reset_metrics=not keep_metrics,
            dry_run=dry_run,
        )

    made = context.run_edit(fork)
    if not dry_run:
        trail.mention([dashed(made.id)])
    print_warning(made.warning)
    if context.json:
        print_json({"id": None if dry_run else dashed(made.id), "dry_run": dry_run})
    else:
        typer.echo("it would be forked" if dry_run else dashed(made.id))


def _make_flag_command(
    summary: str, name: str, done_word: str, *, archived: bool | None = None, pinned: bool | None = None
) -> Callable[..., None]:
    """Return a command that sets a flag in the convstore.json of conversations."""

    def command(
        conversations: IdsArgument, context: ContextOptions, force: ForceOption = False, dry_run: DryRunOption = False
    ) -> None:
        async def mark(store: ConversationStore) -> None:
            ids = await resolve_all(store, conversations, force=force)
            act = partial(store.mark, archived=archived, pinned=pinned, force=force)
            await do_each(done_word, ids, act, dry_run=dry_run, json=context.json)

        context.run_edit(mark)

    command.__doc__ = f"{summary}\n\nExample: convstore {name} 45685019 --store workspace/conversations"
    return command


archive_command = _make_flag_command(
    "Hide conversations from lists, counts and searches unless these ask for archived ones.",
    "archive",
    "archived",
    archived=True,
)
unarchive_command = _make_flag_command(
    "Take conversations out of the archive.", "unarchive", "taken out of the archive", archived=False
)
pin_command = _make_flag_command(
    "Pin conversations, so that `convstore prune` keeps them.", "pin", "pinned", pinned=True
)
unpin_command = _make_flag_command("Unpin conversations.", "unpin", "unpinned", pinned=False)
