"""`convstore archive`, `unarchive`, `pin` and `unpin`: what convstore.json beside a meta.json says."""

from __future__ import annotations

from collections.abc import Callable

from app.cli.options import DryRunOption, ForceOption
from app.cli.output import IndexOption, JsonOption, StoreOption, make_settings, run_async
from app.cli.writing import IdsArgument, opened_for_writing, tell
from app.model.ids import ConversationId
from app.settings import Settings


def _make_command(
    what: str, example: str, told: str, *, archived: bool | None = None, pinned: bool | None = None
) -> Callable[..., None]:
    def command(
        conversations: IdsArgument,
        store: StoreOption = None,
        force: ForceOption = False,
        dry_run: DryRunOption = False,
        index: IndexOption = None,
        json: JsonOption = False,
    ) -> None:
        settings = make_settings(store=store, index_url=index)
        marking = _mark(settings, conversations, force, dry_run, archived=archived, pinned=pinned)
        tell(told, run_async(marking), dry_run=dry_run, json=json)

    command.__doc__ = f"{what}\n\nExample: convstore {example} 45685019 --store workspace/conversations"
    return command


archive_command = _make_command(
    "Leave conversations out of lists, counts and searches that do not ask for archived ones.",
    "archive",
    "archived",
    archived=True,
)
unarchive_command = _make_command(
    "Take conversations out of the archive.", "unarchive", "taken out of the archive", archived=False
)
pin_command = _make_command("Pin conversations; `convstore prune` never takes them.", "pin", "pinned", pinned=True)
unpin_command = _make_command("Undo a pin.", "unpin", "unpinned", pinned=False)


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
