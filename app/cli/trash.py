"""`convstore trash list | restore | empty`: what was deleted and can still be restored."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import Annotated

import typer

from app.cli.naming import do_each
from app.cli.options import DryRunOption, YesOption, confirm, parse_age
from app.cli.output import (
    IndexOption,
    JsonOption,
    LateBar,
    StoreOption,
    counted,
    make_settings,
    out,
    print_json,
    print_table,
    run_async,
)
from app.errors import ConversationNotFound
from app.files.trash import TrashEntry, list_older
from app.model.ids import ConversationId, dashed
from app.model.times import format_us
from app.settings import Settings
from app.store.store import ConversationStore

app = typer.Typer(help="What was deleted: look, put back, remove for good.")

OlderOption = Annotated[
    int | None,
    typer.Option(
        "--older-than",
        metavar="AGE",
        parser=parse_age,
        help="Only what was deleted so long ago: 30m, 12h, 180d, 4w.",
        show_default="all",
    ),
]


@app.command(name="list")
def list_command(
    older_than: OlderOption = None,
    store: StoreOption = None,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """List what is in the trash, the last deleted first.

    Example: convstore trash list --store workspace/conversations --older-than 30d
    """

    async def listed(settings: Settings) -> list[dict[str, str | None]]:
        before_us = _ago(older_than)
        async with ConversationStore.open(settings) as opened:
            entries, _ = await opened.list_trash(0, None)
        return [
            {"id": dashed(one.id), "deleted_at": format_us(one.deleted_at_us), "title": title}
            for one, title in entries
            if one.deleted_at_us < before_us
        ]

    items = run_async(listed(make_settings(store=store, index_url=index)))
    if json:
        print_json({"items": items})
        return
    print_table(
        ("ID", "DELETED", "TITLE"),
        [[one["id"] or "", one["deleted_at"] or "", one["title"] or "(no title)"] for one in items],
    )


@app.command(name="restore")
def restore_command(
    conversations: Annotated[list[str], typer.Argument(metavar="ID", help="Their ids, or the beginnings of them.")],
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Put deleted conversations back; of one that was deleted more than once, the last.

    Example: convstore trash restore 45685019 --store workspace/conversations
    """

    async def restore(settings: Settings) -> None:
        async with ConversationStore.open(settings) as opened:
            entries, _ = await opened.list_trash(0, None)
            deleted = [entry.id for entry, _ in entries]
            ids = list(dict.fromkeys(_resolve(one, deleted) for one in conversations))
            for one in ids:
                await opened.require_restorable(one)
            await do_each("restored", ids, opened.restore, dry_run=dry_run, json=json)

    run_async(restore(make_settings(store=store, index_url=index)))


def _resolve(text: str, deleted: list[ConversationId]) -> ConversationId:
    prefix = text.replace("-", "").lower()
    found = {one for one in deleted if one.startswith(prefix)} if len(prefix) >= 4 else set()
    if len(found) != 1:
        what = "several" if found else "no"
        raise ConversationNotFound(f"{what} conversations in the trash begin with {text!r}; see `convstore trash list`")
    return found.pop()


@app.command(name="empty")
def empty_command(
    older_than: OlderOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    store: StoreOption = None,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Remove for good what is in the trash. Asks first.

    Example: convstore trash empty --older-than 30d --store workspace/conversations
    """
    settings = make_settings(store=store, index_url=index)
    entries = run_async(_older(settings, _ago(older_than)))
    ids = [one.id for one in entries]
    if not dry_run:
        if entries:
            confirm(f"Remove {counted(len(entries), 'conversation')} for good?", yes=yes)
        before_us = entries[-1].deleted_at_us + 1 if entries else 0  # what is deleted during the question stays
        ids = run_async(_empty(settings, before_us, len(entries)))
    if json:
        print_json({"ids": [dashed(one) for one in ids], "dry_run": dry_run})
    else:
        out.print(f"{counted(len(ids), 'conversation')} {'would be removed' if dry_run else 'removed'} for good")


def _ago(age_us: int | None) -> int:
    """Return the time so long ago; without an age one that is after all others."""
    return 1 << 62 if age_us is None else time.time_ns() // 1000 - age_us


async def _older(settings: Settings, before_us: int) -> list[TrashEntry]:
    async with ConversationStore.open(settings) as opened:
        return list_older(opened.reader.root, before_us)


async def _empty(settings: Settings, before_us: int, total: int) -> list[ConversationId]:
    removed = []
    with LateBar() as bar:
        async with ConversationStore.open(settings) as opened, aclosing(opened.empty_trash(before_us)) as entries:
            async for entry in entries:
                removed.append(entry.id)
                bar.show("removed", len(removed), total)
    return removed
