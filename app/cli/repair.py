"""`convstore repair`."""

from __future__ import annotations

import typer

from .. import trail
from ..files.conversation_repair import Repair
from ..logs import printable
from ..model.ids import ConversationId, dashed
from ..store.store import ConversationStore
from .context import ContextOptions
from .conversation_ids import IdArgument, resolve
from .options import DryRunOption
from .output import out, print_json, print_warning

_FOUND = 1


def repair_command(conversation: IdArgument, context: ContextOptions, dry_run: DryRunOption = False) -> None:
    """Make all safe repairs of a conversation's files, after copying it into the trash. Exit code 1 if problems remain.

    Example: convstore repair 45685019 --dry-run --store workspace/conversations
    """

    async def repair(store: ConversationStore) -> tuple[ConversationId, Repair]:
        found = await resolve(store, conversation)
        if not dry_run:
            trail.mention([dashed(found)])
        return found, await store.repair(found, dry_run=dry_run)

    conversation_id, done = context.run_edit(repair)
    print_warning(done.warning)
    if context.json:
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
        _print(done, dry_run=dry_run)
    if done.left:
        raise typer.Exit(_FOUND)


def _print(done: Repair, *, dry_run: bool) -> None:
    for mend in done.mended:
        out.print(printable(f"{'would be ' if dry_run else ''}mended  {mend.file}: {mend.what}"))
    for problem in done.left:
        out.print(printable(f"left    {problem}"))
    if done.copy:
        out.print(printable(f"a copy of the earlier files is in .trash/{done.copy}"))
    if not (done.mended or done.left):
        out.print("there is nothing to mend")
