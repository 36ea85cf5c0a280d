"""`convstore archive`, `unarchive`, `pin` and `unpin`: what convstore.json beside a meta.json says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from app.cli.naming import do_each, resolve_all
from app.cli.options import DryRunOption, ForceOption
from app.cli.output import IndexOption, JsonOption, StoreOption, make_settings, run_async
from app.cli.writing import IdsArgument, opened_for_writing


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

        async def mark() -> None:
            async with opened_for_writing(settings) as opened:
                ids = await resolve_all(opened, conversations, force=force)
                act = partial(opened.mark, archived=archived, pinned=pinned, force=force)
                await do_each(told, ids, act, dry_run=dry_run, json=json)

        run_async(mark())

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
