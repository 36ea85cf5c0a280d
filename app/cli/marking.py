"""`convstore archive`, `unarchive`, `pin` and `unpin`: what convstore.json beside a meta.json says."""

from __future__ import annotations

from app.cli.options import DryRunOption, ForceOption
from app.cli.output import IndexOption, JsonOption, StoreOption, make_settings, run_async
from app.cli.writing import IdsArgument, opened_for_writing, tell
from app.model.ids import ConversationId
from app.settings import Settings


def archive_command(
    conversations: IdsArgument,
    store: StoreOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Leave conversations out of lists, counts and searches that do not ask for archived ones.

    Example: convstore archive 45685019 --store workspace/conversations
    """
    marking = _mark(make_settings(store=store, index_url=index), conversations, force, dry_run, archived=True)
    tell("archived", run_async(marking), dry_run=dry_run, json=json)


def unarchive_command(
    conversations: IdsArgument,
    store: StoreOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Take conversations out of the archive.

    Example: convstore unarchive 45685019 --store workspace/conversations
    """
    marking = _mark(make_settings(store=store, index_url=index), conversations, force, dry_run, archived=False)
    tell("taken out of the archive", run_async(marking), dry_run=dry_run, json=json)


def pin_command(
    conversations: IdsArgument,
    store: StoreOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Pin conversations; `convstore prune` never takes them.

    Example: convstore pin 45685019 --store workspace/conversations
    """
    marking = _mark(make_settings(store=store, index_url=index), conversations, force, dry_run, pinned=True)
    tell("pinned", run_async(marking), dry_run=dry_run, json=json)


def unpin_command(
    conversations: IdsArgument,
    store: StoreOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Undo a pin.

    Example: convstore unpin 45685019 --store workspace/conversations
    """
    marking = _mark(make_settings(store=store, index_url=index), conversations, force, dry_run, pinned=False)
    tell("unpinned", run_async(marking), dry_run=dry_run, json=json)


async def _mark(
    settings: Settings,
    texts: list[str],
    force: bool,
    dry_run: bool,
    *,
    archived: bool | None = None,
    pinned: bool | None = None,
) -> list[ConversationId]:
    async with opened_for_writing(settings) as store:
        ids = [await store.resolve(text) for text in texts]
        for one in ids:
            await store.require_deletable(one, force=force)  # who may delete it may write to it
            if not dry_run:
                await store.mark(one, archived=archived, pinned=pinned, force=force)
        return ids
