"""`convstore index status | sync | rebuild | verify`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from .. import trail
from ..errors import InvalidSettings
from ..files.census import Census, describe, take_census
from ..index.conversation_lookup import Totals
from ..index.state import IndexState
from ..logs import printable
from ..model.ids import dashed
from ..model.times import format_us
from ..store.existence import require_store
from ..store.follow.crash_recovery import Recovered
from ..store.follow.full_sync import SyncReport
from ..store.follow.rebuild import rebuild
from ..store.follow.verify import Difference
from ..store.store import ConversationStore
from ..trail import Act
from .context import CommandContext, make_dir_context, sync
from .output import LateBar, counted, out, print_json, print_table
from .registration import OptionGroup, add_command, make_group

app = make_group("Show the state of the index, sync it, compare it with the files, or rebuild it.")

_FOUND = 1

_ContextOptions = Annotated[CommandContext, OptionGroup(make_dir_context, at_end=("json",))]


@add_command(app, "status")
def status_command(context: _ContextOptions) -> None:
    """Show the contents of the index and the progress of a sync.

    Example: convstore index status --store workspace/conversations
    """

    async def work(store: ConversationStore) -> tuple[str, IndexState, Totals]:
        return store.index.name, *await store.get_status()

    place, progress, totals = context.run(work)
    answer = {
        "index": place,
        "phase": progress.phase,
        "done": progress.done,
        "total": progress.total,
        "conversations": totals.conversations,
        "unreadable": totals.unreadable,
        "dirty": totals.behind,
        "revision": progress.revision,
        "last_sweep_at": format_us(progress.last_sweep_at) if progress.last_sweep_at else None,
        "last_error": progress.last_error,
    }
    if context.json:
        print_json(answer)
    else:
        print_table(("", ""), ((name, "-" if value is None else str(value)) for name, value in answer.items()))


@add_command(app, "sync", act=Act.WRITE, path="index sync")
def sync_command(
    context: _ContextOptions,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Accept that the directory has no conversations any more.")
    ] = False,
    recover: Annotated[
        bool, typer.Option("--recover", help="Also end the runs of dead owners; their status becomes error.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --recover: show which runs would be ended, and end none.")
    ] = False,
) -> None:
    """Bring the index up to date with the files. Unchanged conversations are not opened.

    Example: convstore index sync --store workspace/conversations
    """
    if dry_run and not recover:
        raise InvalidSettings("--dry-run needs --recover; a sync alone changes no conversation")

    async def work(store: ConversationStore) -> tuple[SyncReport, Recovered | None]:
        report = await sync(store, allow_empty=allow_empty)
        return report, await store.recover(end_runs=True, dry_run=dry_run) if recover else None

    report, recovered = context.run(work)
    if recovered and not dry_run:
        trail.mention(map(dashed, recovered.ended))
    census = take_census(context.settings.root, report.empty)
    _print_report(report, census, recovered, dry_run=dry_run, json=context.json)


@add_command(app, "rebuild")
def rebuild_command(
    context: _ContextOptions,
    force: Annotated[bool, typer.Option("--force", help="Also accept an empty or mostly unreadable result.")] = False,
) -> None:
    """Build the index again from the files, even while a server uses it.

    Example: convstore index rebuild --store workspace/conversations
    """
    require_store(context.settings)
    with LateBar() as bar:
        report = asyncio.run(rebuild(context.settings, bar.show, force=force))
    _print_report(report, take_census(context.settings.root, report.empty), json=context.json)


def _print_report(
    report: SyncReport, census: Census, recovered: Recovered | None = None, *, dry_run: bool = False, json: bool
) -> None:
    if json:
        more: dict[str, object] = {}
        if recovered:
            more = {name: [dashed(one) for one in ids] for name, ids in recovered._asdict().items()}
            more["dry_run"] = dry_run
        fields = {name: value for name, value in asdict(report).items() if name != "empty"}
        untrusted = [one.directory for one in report.untrusted]
        print_json(fields | {"untrusted": untrusted, "not_conversations": census} | more)
        return
    out.print(
        f"{counted(report.conversations, 'conversation')}: {report.added} new, {report.changed} changed, "
        f"{report.removed} removed, {report.unreadable} unreadable; {report.opened} read in {report.seconds:.2f} s"
    )
    for text in describe(census).values():
        out.print(f"not listed: {printable(text)}", style="yellow")
    if recovered:
        ended = "would be ended" if dry_run else "is ended" if len(recovered.ended) == 1 else "are ended"
        read, runs = len(recovered.read), len(recovered.ended)
        read_again = "was open at a crash and is read again" if read == 1 else "were open at a crash and are read again"
        out.print(f"{read} {read_again}; {counted(runs, 'run')} {ended}")
        for one in recovered.ended:
            out.print(f"{dashed(one)}: {'is running, would be' if dry_run else 'was running, is'} in error")


@add_command(app, "verify")
def verify_command(
    context: _ContextOptions,
    fix: Annotated[
        bool, typer.Option("--fix", help="Correct differences, even while a server uses the index.")
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Compare only this many conversations, chosen at random.", show_default="all"),
    ] = None,
) -> None:
    """Compare every row and event with the files. Exit code 1 if there are differences that were not corrected.

    Example: convstore index verify --store workspace/conversations --sample 100
    """

    async def verify(store: ConversationStore) -> list[Difference]:
        with LateBar() as bar:
            return await store.verify(
                fix=fix, sample=sample, on_verified=lambda done, total: bar.show("compared", done, total)
            )

    differences = context.run(verify)
    left = [difference for difference in differences if not difference.fixed]
    if context.json:
        print_json([difference._asdict() for difference in differences])
    elif differences:
        print_table(
            ("CONVERSATION", "WHAT", "MENDED", "INDEX", "FILES") if fix else ("CONVERSATION", "WHAT", "INDEX", "FILES"),
            (_make_row(difference, fix=fix) for difference in differences),
        )
        mends = f"`--fix` corrects {'it' if len(differences) == 1 else 'them'}"
        done = f"{len(differences) - len(left)} mended" if fix else mends
        out.print(f"{counted(len(differences), 'difference')}; {done}")
    else:
        out.print("index and files agree")
    if left:
        raise typer.Exit(_FOUND)


def _make_row(difference: Difference, *, fix: bool) -> tuple[str, ...]:
    name, what, in_index, in_files, fixed = difference
    return (name, what, "yes" if fixed else "no", in_index, in_files) if fix else (name, what, in_index, in_files)
