"""`convstore prune`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from .. import trail
from ..model.ids import dashed
from ..model.transcript import name_conversation
from ..store.admin.prune import Candidate, Pruned, find_candidates, prune, quiet_since
from ..store.write.backlog import find_warning
from .context import DirContextOptions, confirm, parse_age
from .filters import AnyArchivedFilterOptions, read_tags
from .options import DryRunOption, YesOption
from .output import LateBar, counted, out, print_json, print_table, print_warning, warn

_SHOWN = 20
_FAILED = 2


def prune_command(
    *,
    asked: AnyArchivedFilterOptions,
    older_than: Annotated[
        int,
        typer.Option(
            "--older-than",
            metavar="AGE",
            parser=parse_age,
            help="The minimum age of creation and of the last event: 30m, 12h, 180d, 4w.",
        ),
    ],
    keep_tag: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY[=VALUE]", help="Keep conversations with this tag; repeated: with any of these tags."),
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    context: DirContextOptions,
) -> None:
    """Move old conversations into the trash, including archived ones. Asks first. Conversations that change are kept.

    The age counts from the last event or from the creation, whichever is later, because a new fork may have only old
    events. Renaming, tagging, pinning and archiving do not make a conversation younger.

    Example: convstore prune --older-than 180d --status finished --keep-tag pinned --dry-run --store conversations
    """
    quiet = quiet_since(asked, time.time_ns() // 1000 - older_than)
    keep_tags = read_tags("--keep-tag", keep_tag)
    candidates = context.run_synced(lambda store: find_candidates(store, quiet, keep_tags), exact=True)
    if not context.json:
        _print_candidates(candidates)
    done: list[Pruned] = []
    if candidates and not dry_run:
        confirm(f"Move {counted(len(candidates), 'conversation')} into the trash?", yes=yes)
        trail.mention(dashed(one.id) for one in candidates)
        with LateBar() as bar:
            done = context.run(lambda store: prune(store, candidates, bar.show))
    print_warning(find_warning(done))
    errors = {one.candidate.id: one.error for one in done}
    if context.json:
        items = [one._asdict() | {"id": dashed(one.id), "error": errors.get(one.id)} for one in candidates]
        print_json({"items": items, "dry_run": dry_run})
    else:
        _print_done(done, len(candidates) if dry_run else None)
    if any(one.failed for one in done):
        raise typer.Exit(_FAILED)


def _print_done(done: list[Pruned], would_be: int | None) -> None:
    for one in done:
        if one.error:
            warn(f"{dashed(one.candidate.id)} stays: {one.error}")
    moved = sum(one.error is None for one in done)
    out.print(f"{moved} moved into the trash" if would_be is None else f"{would_be} would be moved into the trash")


def _print_candidates(candidates: list[Candidate]) -> None:
    if not candidates:
        return
    rows = [
        (dashed(one.id), one.status, one.last_event_at[:10], name_conversation(one.title, one.preview))
        for one in candidates[:_SHOWN]
    ]
    if len(candidates) > _SHOWN:
        rows.append((f"and {len(candidates) - _SHOWN} more; --json names them all", "", "", ""))
    print_table(("ID", "STATUS", "LAST EVENT", "TITLE"), rows)
