"""`convstore erase`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import trail
from ..errors import InvalidSettings
from ..model.filters import ConversationFilter
from ..model.ids import ConversationId, dashed
from ..store.admin.erase import Erased, erase_conversations, erase_event, require_erasable
from ..store.store import ConversationStore
from .context import ContextOptions, confirm
from .conversation_ids import resolve, resolve_deleted
from .filters import AnyArchivedFilterOptions
from .options import DryRunOption, ForceOption, YesOption
from .output import counted, out, print_json, warn

_FOUND = 1


def erase_command(
    *,
    conversations: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="The ids, or prefixes of them; or use filters.")
    ] = None,
    event: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="ID EVENT", help="Erase only the texts of this event. Its place in the log is kept."),
    ] = None,
    search: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="Search here too for the texts, e.g. in a backup.")
    ] = None,
    asked: AnyArchivedFilterOptions,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    context: ContextOptions,
) -> None:
    """Remove conversations for good from files, trash and index, and search the raw bytes for what is left. Asks first.

    Deleted conversations are found in the trash by their id. The exit code is 1 if a file still holds one of the texts.

    Example: convstore erase 45685019 --store workspace/conversations
    """
    ids: list[ConversationId] = []
    places = search or []
    if sum((bool(conversations), event is not None, asked.narrows)) != 1:
        raise InvalidSettings("name conversations by ids or by filters, or one event with --event ID EVENT")
    if event is not None:
        ids = [context.run(lambda store: resolve(store, event[0]))]
        what = f"event {event[1]} of {dashed(ids[0])}"
    else:
        ids = context.run_synced(lambda store: _select(store, conversations, asked, force=force), exact=True)
        what = counted(len(ids), "conversation")
    if dry_run or not ids:
        _print(None, ids, what, json=context.json)
        return
    confirm(f"Erase {what}? This cannot be undone.", yes=yes)

    trail.mention(map(dashed, ids))

    async def erase(store: ConversationStore) -> Erased:
        if event is not None:
            return await erase_event(store, ids[0], event[1], force=force, places=places)
        return await erase_conversations(store, ids, force=force, places=places)

    erased = context.run(erase)
    _print(erased, ids, what, json=context.json)
    if not erased.is_complete:
        raise typer.Exit(_FOUND)


async def _select(
    store: ConversationStore, texts: list[str] | None, asked: ConversationFilter, *, force: bool
) -> list[ConversationId]:
    if not texts:
        ids = await store.list_ids(asked)
    else:
        deleted = sorted(await store.list_last_deleted())
        ids = list(dict.fromkeys([await resolve_deleted(store, text, deleted) for text in texts]))
    await require_erasable(store, ids, force=force)
    return ids


def _print(erased: Erased | None, ids: list[ConversationId], what: str, *, json: bool) -> None:
    """Print the result, or without one what would be erased."""
    forks = erased.forks if erased else []
    if json:
        print_json(
            {
                "ids": [dashed(one) for one in ids],
                "dry_run": erased is None,
                "searched": erased.searched if erased else 0,
                "still_in": erased.still_in if erased else [],
                "forks": [dashed(one) for one in forks],
                "log_empty": erased.log_empty if erased else None,
                "warning": erased.warning if erased else None,
            }
        )
        return
    if erased is None:
        out.print(f"{what} would be erased")
        return
    out.print(f"{what} erased; searched for {counted(erased.searched, 'text')} in the index, the trash and backups")
    for path in erased.still_in:
        warn(f"still in {path}")
    for one in forks:
        warn(f"{dashed(one)} was forked from it and has copies of its events; erase it too if they must go")
    if erased.warning is not None:
        warn(erased.warning)
    elif not erased.log_empty:
        warn("the write-ahead log of the index is in use; it is removed when the last process that uses the store ends")
