"""`convstore repair`."""

from __future__ import annotations

import typer

from app.cli.naming import resolve
from app.cli.options import DryRunOption
from app.cli.output import (
    IndexOption,
    JsonOption,
    StoreOption,
    make_settings,
    out,
    print_json,
    print_warning,
    printable,
    run_async,
)
from app.cli.writing import IdArgument, opened_for_writing
from app.files.conversation_repair import Repair
from app.model.ids import ConversationId, dashed
from app.settings import Settings

_FOUND = 1


def repair_command(
    conversation: IdArgument,
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Mend what has one safe answer, after a copy into the trash. Exit code 1 when something is left that has none.

    Example: convstore repair 45685019 --dry-run --store workspace/conversations
    """

    async def repair(settings: Settings) -> tuple[ConversationId, Repair]:
        async with opened_for_writing(settings) as opened:
            found = await resolve(opened, conversation)
            return found, await opened.repair(found, dry_run=dry_run)

    conversation_id, done = run_async(repair(make_settings(store=store, index_url=index)))
    print_warning(done.warning)
    if json:
        print_json(
            {
                "id": dashed(conversation_id),
                "mended": [{"file": mend.file, "what": mend.what} for mend in done.mended],
                "left": done.left,
                "copy": done.copy,
                "dry_run": dry_run,
            }
        )
    else:
        _tell(done, dry_run=dry_run)
    if done.left:
        raise typer.Exit(_FOUND)


def _tell(done: Repair, *, dry_run: bool) -> None:
    for mend in done.mended:
        out.print(printable(f"{'would be ' if dry_run else ''}mended  {mend.file}: {mend.what}"), markup=False)
    for problem in done.left:
        out.print(printable(f"left    {problem}"), markup=False)
    if done.copy:
        out.print(printable(f"how it was is kept in .trash/{done.copy}"), markup=False)
    if not (done.mended or done.left):
        out.print("there is nothing to mend")
