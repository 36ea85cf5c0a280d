"""`convstore delete`, `restore`, and `trash list | restore | empty`."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .. import trail
from ..files.trash import empty_trash, list_older
from ..model.ids import ConversationId, dashed
from ..model.times import format_us
from ..store.existence import require_store
from ..store.store import ConversationStore
from ..trail import Act
from .context import ContextOptions, DirContextOptions, confirm, parse_age
from .conversation_ids import IdsArgument, do_each, find_deleted, resolve_all
from .options import DryRunOption, ForceOption, YesOption
from .output import LateBar, counted, out, print_json, print_table
from .registration import add_command, make_group

app = make_group("List, restore or permanently remove deleted conversations.")

OlderOption = Annotated[
    int | None,
    typer.Option(
        "--older-than",
        metavar="AGE",
        parser=parse_age,
        help="Only conversations deleted at least this long ago: 30m, 12h, 180d, 4w.",
        show_default="all",
    ),
]


def delete_command(
    conversations: IdsArgument,
    context: ContextOptions,
    permanent: Annotated[
        bool, typer.Option("--permanent", help="Remove permanently instead of moving into the trash.")
    ] = False,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Move conversations into the trash; `convstore restore` undoes this. Asks before --permanent.

    Example: convstore delete 45685019 --store workspace/conversations
    """

    async def delete(store: ConversationStore) -> None:
        ids = await resolve_all(store, conversations, force=force)
        if permanent and not dry_run:
            confirm(f"Remove {counted(len(ids), 'conversation')} for good?", yes=yes)
        act = partial(store.delete, permanent=permanent, force=force)
        await do_each("deleted", ids, act, dry_run=dry_run, json=context.json)

    context.run_edit(delete)


@add_command(app, "list")
def list_command(*, older_than: OlderOption = None, context: DirContextOptions) -> None:
    """List deleted conversations, most recently deleted first.

    Example: convstore trash list --store workspace/conversations --older-than 30d
    """

    async def read(store: ConversationStore) -> list[dict[str, str | None]]:
        before_us = _find_limit(older_than)
        entries, _ = await store.list_trash(0, None)
        return [
            {"id": dashed(one.id), "deleted_at": format_us(one.deleted_at_us), "title": title}
            for one, title in entries
            if one.deleted_at_us < before_us
        ]

    items = context.run(read)
    if context.json:
        print_json({"items": items})
        return
    print_table(
        ("ID", "DELETED", "TITLE"),
        [[one["id"] or "", one["deleted_at"] or "", one["title"] or "(no title)"] for one in items],
    )


@add_command(app, "restore", act=Act.WRITE, path="trash restore")
def restore_command(conversations: IdsArgument, context: ContextOptions, dry_run: DryRunOption = False) -> None:
    """Restore deleted conversations. If one was deleted more than once, the most recent entry is restored.

    Example: convstore trash restore 45685019 --store workspace/conversations
    """

    async def restore(store: ConversationStore) -> None:
        deleted = await store.list_last_deleted()
        known = sorted(deleted)
        ids = list(dict.fromkeys(find_deleted(one, known) for one in conversations))
        for one in ids:
            await store.require_restorable(one, deleted=deleted)
        act = partial(store.restore, deleted=deleted)
        await do_each("restored", ids, act, dry_run=dry_run, json=context.json)

    context.run(restore)


@add_command(app, "empty", act=Act.WRITE, path="trash empty")
def empty_command(
    *, older_than: OlderOption = None, dry_run: DryRunOption = False, yes: YesOption = False, context: DirContextOptions
) -> None:
    """Permanently remove the entries of the trash. Asks first.

    Example: convstore trash empty --older-than 30d --store workspace/conversations
    """
    limit_us = _find_limit(older_than)

    require_store(context.settings)
    root = context.settings.root  # the index is not needed, and cannot be opened on a full disk
    entries = list_older(root, limit_us)
    ids = [one.id for one in entries]
    if not dry_run:
        if entries:
            confirm(f"Remove {counted(len(entries), 'conversation')} for good?", yes=yes)
        before_us = (
            entries[-1].deleted_at_us + 1 if entries else 0
        )  # entries that are deleted during the question are kept
        with LateBar() as bar:
            ids = _empty(root, before_us, len(entries), bar)
    if context.json:
        print_json({"ids": [dashed(one) for one in ids], "dry_run": dry_run})
    else:
        out.print(f"{counted(len(ids), 'conversation')} {'would be removed' if dry_run else 'removed'} for good")


def _empty(root: Path, before_us: int, total: int, bar: LateBar) -> list[ConversationId]:
    removed = []
    for entry in empty_trash(root, before_us):
        removed.append(entry.id)
        trail.mention([dashed(entry.id)])
        bar.show("removed", len(removed), total)
    return removed


def _find_limit(age_us: int | None) -> int:
    """Return the time `age_us` ago. Without an age, return a time after all others."""
    return 1 << 62 if age_us is None else time.time_ns() // 1000 - age_us
