"""`convstore prune`."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.text import Text

from app.cli.filters import read_tags, with_filters
from app.cli.options import DryRunOption, YesOption, confirm, parse_age
from app.cli.output import (
    IndexOption,
    JsonOption,
    LateBar,
    StoreOption,
    counted,
    err,
    make_settings,
    opened,
    out,
    print_json,
    print_table,
    print_warning,
    printable,
    run_async,
)
from app.model.filters import Archived, ConversationFilter, Tag
from app.model.ids import dashed
from app.settings import Settings
from app.store.admin.prune import Candidate, Pruned, find_candidates, prune, quiet_since
from app.store.write.backlog import find_warning

_SHOWN = 20
_FAILED = 2


@with_filters(archived=Archived.ANY)
def prune_command(
    asked: ConversationFilter,
    older_than: Annotated[
        int,
        typer.Option(
            "--older-than",
            metavar="AGE",
            parser=parse_age,
            help="Created, and the last event, longer ago than this: 30m, 12h, 180d, 4w.",
        ),
    ],
    keep_tag: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY[=VALUE]", help="Keep what has this tag; repeated: one of these tags."),
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    store: StoreOption = None,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Move old conversations into the trash, archived ones too. Asks first. What is written to meanwhile stays.

    The age is that of the last event, or of the conversation where that is newer, as a fork may be. Renaming, tagging,
    pinning and archiving do not make a conversation younger.

    Example: convstore prune --older-than 180d --status finished --keep-tag pinned --dry-run --store conversations
    """
    asked = quiet_since(asked, time.time_ns() // 1000 - older_than)
    settings = make_settings(store=store, index_url=index)
    candidates = run_async(_find(settings, asked, read_tags("--keep-tag", keep_tag)))
    if not json:
        _print_candidates(candidates)
    done: list[Pruned] = []
    if candidates and not dry_run:
        confirm(f"Move {counted(len(candidates), 'conversation')} into the trash?", yes=yes)
        done = run_async(_prune(settings, candidates))
    print_warning(find_warning(done))
    errors = {one.candidate.id: one.error for one in done}
    if json:
        items = [one._asdict() | {"id": dashed(one.id), "error": errors.get(one.id)} for one in candidates]
        print_json({"items": items, "dry_run": dry_run})
    else:
        _print_done(done, len(candidates) if dry_run else None)
    if any(one.failed for one in done):
        raise typer.Exit(_FAILED)


def _print_done(done: list[Pruned], would_be: int | None) -> None:
    for one in done:
        if one.error:
            err.print(Text(printable(f"{dashed(one.candidate.id)} stays: {one.error}"), style="yellow"))
    moved = sum(one.error is None for one in done)
    out.print(f"{moved} moved into the trash" if would_be is None else f"{would_be} would be moved into the trash")


async def _find(settings: Settings, asked: ConversationFilter, keep_tags: tuple[Tag, ...]) -> list[Candidate]:
    async with opened(settings, no_sync=False) as store:
        return await find_candidates(store, asked, keep_tags)


async def _prune(settings: Settings, candidates: list[Candidate]) -> list[Pruned]:
    with LateBar() as bar:
        async with opened(settings, no_sync=True) as store:
            return await prune(store, candidates, bar.show)


def _print_candidates(candidates: list[Candidate]) -> None:
    if not candidates:
        return
    rows = [
        (dashed(one.id), one.status, one.last_event_at[:10], one.title or "(no title)") for one in candidates[:_SHOWN]
    ]
    if len(candidates) > _SHOWN:
        rows.append((f"and {len(candidates) - _SHOWN} more; --json names them all", "", "", ""))
    print_table(("ID", "STATUS", "LAST EVENT", "TITLE"), rows)
