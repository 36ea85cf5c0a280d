"""`convstore rename`, `tag`, `fork`, `delete` and `restore`.

Each owns the conversation for the moment; while a server or an agent-server is writing to it, it is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from app.cli.output import IndexOption, JsonOption, StoreOption, make_settings, print_json, print_table, run_async
from app.errors import ConversationNotFound, InvalidConversation
from app.model.ids import ConversationId, dashed
from app.model.times import format_us
from app.settings import Settings
from app.store.store import ConversationStore

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")]
IdsArgument = Annotated[list[str], typer.Argument(metavar="ID...", help="Their ids, or the beginnings of them.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Also while another program is writing to it.")]


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[ConversationStore]:
    async with ConversationStore.open(settings) as store:
        if not (await store.get_status())[1].conversations:
            await store.sync()
        yield store


def rename_command(
    conversation: IdArgument,
    title: Annotated[str, typer.Argument(help="Its new title, 1 to 200 characters.")],
    store: StoreOption = None,
    index: IndexOption = None,
) -> None:
    """Set the title of a conversation.

    Example: convstore rename 45685019 "Retry with jitter" --store workspace/conversations
    """

    async def rename(settings: Settings) -> None:
        async with _opened(settings) as opened, opened.writer(await opened.resolve(conversation)) as writer:
            await writer.set_title(title)

    run_async(rename(make_settings(store=store, index_url=index)))


def tag_command(
    conversation: IdArgument,
    tags: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="Tags to set; KEY= removes one.")],
    store: StoreOption = None,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Set and remove tags of a conversation; its other tags stay.

    Example: convstore tag 45685019 area=store done= --store workspace/conversations
    """

    async def tag(settings: Settings) -> dict[str, str]:
        async with _opened(settings) as opened, opened.writer(await opened.resolve(conversation)) as writer:
            await writer.set_tags(_changed(writer.tags, tags))
            return writer.tags

    now = run_async(tag(make_settings(store=store, index_url=index)))
    if json:
        print_json({"tags": now})
    else:
        typer.echo(" ".join(f"{key}={value}" for key, value in sorted(now.items())))


def _changed(before: dict[str, str], given: Sequence[str]) -> dict[str, str]:
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
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Copy a conversation, whole or up to an event, and print the id of the copy.

    Example: convstore fork 45685019 --title "Another try" --store workspace/conversations
    """

    async def fork(settings: Settings) -> ConversationId:
        async with _opened(settings) as opened:
            return await opened.fork(
                await opened.resolve(conversation),
                title=title,
                from_event_id=from_event,
                reset_metrics=not keep_metrics,
            )

    made = dashed(run_async(fork(make_settings(store=store, index_url=index))))
    if json:
        print_json({"id": made})
    else:
        typer.echo(made)


def delete_command(
    conversations: IdsArgument,
    store: StoreOption = None,
    permanent: Annotated[bool, typer.Option("--permanent", help="Remove it for good, not into the trash.")] = False,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Move conversations into the trash; `convstore restore` puts them back.

    Example: convstore delete 45685019 --store workspace/conversations
    """

    async def delete(settings: Settings) -> list[ConversationId]:
        async with _opened(settings) as opened:
            ids = [await opened.resolve(one) for one in conversations]
            for one in ids:
                if dry_run:
                    await opened.get_conversation(one)
                else:
                    await opened.delete(one, permanent=permanent, force=force)
            return ids

    _tell("deleted", run_async(delete(make_settings(store=store, index_url=index))), dry_run=dry_run, json=json)


def restore_command(
    conversations: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Their ids; none lists.")] = None,
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Put deleted conversations back; without an id, list what is in the trash.

    Example: convstore restore 45685019-b9b6-446b-bd2d-1e96d93e73eb --store workspace/conversations
    """

    async def listed(settings: Settings) -> list[dict[str, str | None]]:
        async with ConversationStore.open(settings) as opened:
            entries, _ = await opened.list_trash(0, None)
        return [
            {"id": dashed(one.id), "deleted_at": format_us(one.deleted_at_us), "title": title} for one, title in entries
        ]

    async def restore(settings: Settings, texts: list[str]) -> list[ConversationId]:
        async with _opened(settings) as opened:
            entries, _ = await opened.list_trash(0, None)
            ids = [_resolve_deleted(one, [entry.id for entry, _ in entries]) for one in texts]
            for one in () if dry_run else ids:
                await opened.restore(one)
            return ids

    settings = make_settings(store=store, index_url=index)
    if conversations:
        _tell("restored", run_async(restore(settings, conversations)), dry_run=dry_run, json=json)
        return
    deleted = run_async(listed(settings))
    if json:
        print_json({"items": deleted})
    else:
        print_table(
            ["ID", "DELETED", "TITLE"],
            [[one["id"] or "", one["deleted_at"] or "", one["title"] or "(no title)"] for one in deleted],
        )


def _resolve_deleted(text: str, deleted: list[ConversationId]) -> ConversationId:
    prefix = text.replace("-", "").lower()
    found = {one for one in deleted if one.startswith(prefix)} if len(prefix) >= 4 else set()
    if len(found) != 1:
        what = "several" if found else "no"
        raise ConversationNotFound(f"{what} conversations in the trash begin with {text!r}; see `convstore restore`")
    return found.pop()


def _tell(what: str, ids: list[ConversationId], *, dry_run: bool, json: bool) -> None:
    if json:
        print_json({"ids": [dashed(one) for one in ids], "dry_run": dry_run})
        return
    for one in ids:
        typer.echo(f"{'would be ' if dry_run else ''}{what}: {dashed(one)}")
