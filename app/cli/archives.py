"""`convstore export` and `import`."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from app.cli.filters import with_filters
from app.cli.options import DryRunOption
from app.cli.output import (
    IndexOption,
    JsonOption,
    LateBar,
    NoSyncOption,
    StoreOption,
    counted,
    err,
    make_settings,
    opened,
    out,
    print_json,
    print_warning,
    printable,
    run_async,
    shown_json,
)
from app.errors import InvalidSettings
from app.files.durable import make_directory, new_file
from app.files.layout import ConversationDir
from app.model.archive_format import NO_LIMITS, OWN_ARCHIVE, ExportFormat, OnClash
from app.model.filters import Archived, ConversationFilter
from app.model.ids import dashed
from app.settings import Settings
from app.store.admin.archive_export import ExportReport, aiter_of, export, find_named, list_named
from app.store.admin.archive_import import Action, PlannedImport, import_conversations
from app.store.store import ConversationStore
from app.store.write.backlog import find_warning

_STDOUT = Path("-")
_SHOWN = 20
_FAILED = 2
_ALL = ConversationFilter(archived=None)


@with_filters(archived=Archived.ANY)
def export_command(
    asked: ConversationFilter,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Their ids, or the beginnings of them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All conversations that the filters admit.")] = False,
    kind: Annotated[
        ExportFormat | None,
        typer.Option(
            "--format",
            help="zip and jsonl can be imported again; markdown is for reading.",
            show_default="as --output ends, else zip",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The file to write; - is standard output.", show_default="named for the id"
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Write a file for each conversation into this directory instead."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="With --to: leave files alone that exist.")] = False,
    with_secrets: Annotated[
        bool, typer.Option("--with-secrets", help="Leave secrets in: every file as it is, byte for byte.")
    ] = False,
    store: StoreOption = None,
    index: IndexOption = None,
    no_sync: NoSyncOption = False,
    json: JsonOption = False,
) -> None:
    """Write conversations out as a zip in agent-server's layout, as JSON Lines or as Markdown, without secrets.

    Example: convstore export 45685019 --store workspace/conversations --output a-talk.zip
    """
    if bool(ids) == everything:
        raise InvalidSettings("say which conversations: their ids, or --all, which may be narrowed with filters")
    if to and output:
        raise InvalidSettings("--output and --to exclude each other")
    if ids and asked != _ALL:
        raise InvalidSettings("filters go with --all, not with ids")
    if resume and not to:
        raise InvalidSettings("--resume goes with --to")
    settings = make_settings(store=store, index_url=index)
    exporting = _Export(_format(kind, output), force=force, resume=resume, with_secrets=with_secrets)
    run_async(exporting.run(settings, ids or [], asked, output, to, no_sync=no_sync, json=json))


def _format(asked: ExportFormat | None, output: Path | None) -> ExportFormat:
    """Return the format that is asked for, or else that by which the file is named."""
    named = next((one for one in ExportFormat if output and output.suffix.lower() == one.suffix), None)
    if asked and named and asked != named:
        raise InvalidSettings(f"{output} is named as {named}, but --format asks for {asked}; leave one of them out")
    if output and output.suffix and not asked and not named:
        told = "name it .zip, .jsonl or .md, or say with --format what it shall be"
        raise InvalidSettings(f"{output} is named as nothing that can be written; {told}")
    return asked or named or ExportFormat.ZIP


class _NothingReadError(Exception):
    """No conversation that was to be in a file could be read, so there is no file."""


class _Export:
    """One run of the command."""

    def __init__(self, kind: ExportFormat, *, force: bool, resume: bool, with_secrets: bool) -> None:
        self._kind = kind
        self._force = force
        self._resume = resume
        self._with_secrets = with_secrets
        self._report = ExportReport()
        self._bar = LateBar()

    async def run(
        self,
        settings: Settings,
        ids: list[str],
        asked: ConversationFilter,
        output: Path | None,
        to: Path | None,
        *,
        no_sync: bool,
        json: bool,
    ) -> None:
        async with opened(settings, no_sync=no_sync) as store:
            if ids:
                found = await find_named(store, [await store.resolve(text) for text in ids])
                total, named = len(found), aiter_of(found)
            else:
                total, named = await store.count_conversations(asked), list_named(store, asked)
            with self._bar:
                if to is not None:
                    await self._write_each(store, named, to, total)
                else:
                    output = output or Path(ids[0] if len(ids) == 1 else "conversations").with_suffix(self._kind.suffix)
                    with suppress(_NothingReadError):
                        await self._write_one(store, self._counted(named, total), output)
        self._print(output or to, json=json)
        if self._report.unread:
            raise typer.Exit(_FAILED)

    async def _counted(self, named: AsyncIterator[ConversationDir], total: int) -> AsyncIterator[ConversationDir]:
        async for one in named:
            self._bar.show("exported", self._report.conversations, total)
            yield one

    async def _write_each(
        self, store: ConversationStore, named: AsyncIterator[ConversationDir], to: Path, total: int
    ) -> None:
        await asyncio.to_thread(make_directory, to)
        async for one in self._counted(named, total):
            path = to / f"{one.id}{self._kind.suffix}"
            if not (self._resume and path.exists()):
                with suppress(_NothingReadError):
                    await self._write_one(store, aiter_of([one]), path)

    async def _write_one(self, store: ConversationStore, named: AsyncIterator[ConversationDir], path: Path) -> None:
        before = self._report.conversations
        chunks = export(store.reader, named, self._kind, self._report, with_secrets=self._with_secrets)
        async with aclosing(chunks):
            if path == _STDOUT:
                async for chunk in chunks:
                    sys.stdout.buffer.write(self._shown(chunk))
                sys.stdout.buffer.flush()
                return
            with new_file(path, replace=self._force) as file:
                async for chunk in chunks:
                    file.write(chunk)
                if self._report.unread and self._report.conversations == before:
                    raise _NothingReadError

    def _shown(self, chunk: bytes) -> bytes:
        """Return a piece of an export as a terminal may get it; elsewhere as it is."""
        if not sys.stdout.isatty() or self._kind is ExportFormat.ZIP:
            return chunk
        if self._kind is ExportFormat.JSONL:
            return shown_json(chunk).encode()
        return printable(chunk.decode(errors="replace"), lines=True).encode()

    def _print(self, where: Path | None, *, json: bool) -> None:
        report = self._report
        if json and where != _STDOUT:
            print_json(
                {
                    "output": str(where),
                    "conversations": report.conversations,
                    "size_bytes": report.size_bytes,
                    "left_out": [
                        {"conversation": dashed(one), **left_out._asdict()} for one, left_out in report.left_out
                    ],
                }
            )
            return
        for conversation_id, left_out in report.left_out[:_SHOWN]:
            line = f"{dashed(conversation_id)}: {left_out.name} is left out: {left_out.reason}"
            err.print(Text(printable(line), style="yellow"))
        if len(report.left_out) > _SHOWN:
            err.print(Text(f"and {len(report.left_out) - _SHOWN} more; --json names them all", style="yellow"))
        if where != _STDOUT and (report.conversations or not report.unread):
            out.print(f"{counted(report.conversations, 'conversation')}, {report.size_bytes:,} bytes: {where}")


def import_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH", help="Zips, JSON Lines, conversations' directories, or directories of any of these."
        ),
    ],
    on_clash: Annotated[
        OnClash, typer.Option(help="What to do with a conversation whose id is taken by another one.")
    ] = OnClash.FAIL,
    new_ids: Annotated[bool, typer.Option("--new-ids", help="Give every conversation a new id.")] = False,
    dry_run: DryRunOption = False,
    no_limits: Annotated[
        bool, typer.Option("--no-limits", help="Accept files of any size and number that unpack to any size.")
    ] = False,
    store: StoreOption = None,
    index: IndexOption = None,
    json: JsonOption = False,
) -> None:
    """Import conversations that convstore or agent-server exported. All is checked before anything is written.

    What is there already, and equal, is left alone: an import that was interrupted is simply run again.

    Example: convstore import talk.zip --store workspace/conversations
    """

    async def work(settings: Settings) -> list[PlannedImport]:
        async with ConversationStore.open(settings) as opened_store:
            with LateBar() as bar:
                return await import_conversations(
                    opened_store, paths, NO_LIMITS if no_limits else OWN_ARCHIVE,
                    on_clash=on_clash, new_ids=new_ids, dry_run=dry_run, on_progress=bar.show,
                )  # fmt: skip

    _print_plan(run_async(work(make_settings(store=store, index_url=index))), dry_run=dry_run, json=json)


def _print_plan(plan: list[PlannedImport], *, dry_run: bool, json: bool) -> None:
    print_warning(find_warning(plan))
    if json:
        items = [
            {
                "source": one.source, "id": dashed(one.target), "archive_id": dashed(one.id), "action": one.action,
                "files": one.files, "size_bytes": one.size_bytes, "left_out": [left._asdict() for left in one.left_out],
            }
            for one in plan
        ]  # fmt: skip
        print_json({"items": items, "dry_run": dry_run})
        return
    for one in plan[:_SHOWN]:
        told = "" if one.target == one.id else f", was {dashed(one.id)}"
        out.print(Text(printable(f"{dashed(one.target)}  {one.action:<9}  {one.files} files{told}")))
    if len(plan) > _SHOWN:
        out.print(f"and {len(plan) - _SHOWN} more; --json names them all")
    for one in plan:
        for left in one.left_out:
            err.print(Text(printable(f"{dashed(one.id)}: {left.name} is left out: {left.reason}"), style="yellow"))
    done = Counter(one.action for one in plan)
    verb = "would be imported" if dry_run else "imported"
    out.print(f"{done[Action.IMPORT]} {verb}, {done[Action.UNCHANGED]} unchanged, {done[Action.SKIP]} skipped")
