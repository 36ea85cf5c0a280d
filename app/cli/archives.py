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

from .. import trail
from ..errors import InvalidSettings
from ..files.durable import make_directory, new_file
from ..files.layout import ConversationDir
from ..logs import printable
from ..model.archive_format import NO_LIMITS, OWN_ARCHIVE, ExportFormat, OnClash
from ..model.filters import ConversationFilter
from ..model.ids import dashed
from ..store.admin.archive_export import ExportReport, aiter_of, export, find_named, list_named
from ..store.admin.archive_import import Action, PlannedImport, import_conversations
from ..store.store import ConversationStore
from ..store.write.backlog import find_warning
from ..web.encoders import find_encoder
from .context import ContextOptions, SyncContextOptions
from .filters import AnyArchivedFilterOptions
from .options import DryRunOption
from .output import LateBar, counted, out, print_json, print_warning, shown_json, warn

_STDOUT = Path("-")
_SHOWN = 20
_FAILED = 2
_ALL = ConversationFilter(archived=None)


def export_command(
    *,
    asked: AnyArchivedFilterOptions,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="The ids, or prefixes of them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All conversations that match the filters.")] = False,
    kind: Annotated[
        ExportFormat | None,
        typer.Option(
            "--format",
            help="zip and jsonl can be imported again; markdown and html are only for reading.",
            show_default="by the ending of --output, otherwise zip",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The file to write; - is standard output.", show_default="named after the id"
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Write one file per conversation into this directory instead."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="With --to: skip files that exist.")] = False,
    with_secrets: Annotated[
        bool, typer.Option("--with-secrets", help="Include secrets: copy every file unchanged.")
    ] = False,
    context: SyncContextOptions,
) -> None:
    """Write conversations as a zip in agent-server's layout, as JSON Lines, as Markdown or as HTML. Secrets are masked.

    Example: convstore export 45685019 --store workspace/conversations --output a-talk.zip
    """
    if bool(ids) == everything:
        raise InvalidSettings("give the ids of conversations, or --all, which may be combined with filters")
    if to and output:
        raise InvalidSettings("--output and --to cannot be combined; give one of them")
    if ids and asked != _ALL:
        raise InvalidSettings("filters need --all and cannot be combined with ids")
    if resume and not to:
        raise InvalidSettings("--resume needs --to")
    exported = _Export(_find_format(kind, output), force=force, resume=resume, with_secrets=with_secrets)
    where = context.run_synced(lambda store: exported.run(store, ids or [], asked, output, to), exact=True)
    exported.print(where, json=context.json)
    if exported.report.unread:
        raise typer.Exit(_FAILED)


def _find_format(asked: ExportFormat | None, output: Path | None) -> ExportFormat:
    """Return the format from --format, otherwise from the file's ending, otherwise zip."""
    named = next((one for one in ExportFormat if output and output.suffix.lower() == one.suffix), None)
    if asked and named and asked != named:
        raise InvalidSettings(
            f"{output} has the ending of {named}, but --format asks for {asked}; change or omit one of them"
        )
    if output and output.suffix and not asked and not named:
        told = "end it with .zip, .jsonl, .md or .html, or give --format"
        raise InvalidSettings(f"{output} does not have the ending of an export format; {told}")
    return asked or named or ExportFormat.ZIP


class _NothingReadError(Exception):
    """No conversation could be read, so the file is not written."""


class _Export:
    """One run of `convstore export`."""

    def __init__(self, kind: ExportFormat, *, force: bool, resume: bool, with_secrets: bool) -> None:
        self._kind = kind
        self._force = force
        self._resume = resume
        self._with_secrets = with_secrets
        self.report = ExportReport()
        self._bar = LateBar()

    async def run(
        self, store: ConversationStore, ids: list[str], asked: ConversationFilter, output: Path | None, to: Path | None
    ) -> Path:
        """Export conversations, and return the path of the file or directory."""
        named: AsyncIterator[ConversationDir]
        if ids:
            found = await find_named(store, [await store.resolve(text) for text in ids])
            total, named = len(found), aiter_of(found)
        else:
            total, named = await store.count_conversations(asked), list_named(store, asked)
        with self._bar:
            if to is not None:
                await self._write_each(store, named, to, total)
                return to
            output = output or Path(ids[0] if len(ids) == 1 else "conversations").with_suffix(self._kind.suffix)
            with suppress(_NothingReadError):
                await self._write_one(store, self._count(named, total), output)
            return output

    async def _count(self, named: AsyncIterator[ConversationDir], total: int) -> AsyncIterator[ConversationDir]:
        async for one in named:
            self._bar.show("exported", self.report.conversations, total)
            trail.mention([dashed(one.id)])
            yield one

    async def _write_each(
        self, store: ConversationStore, named: AsyncIterator[ConversationDir], to: Path, total: int
    ) -> None:
        await asyncio.to_thread(make_directory, to)
        async for one in self._count(named, total):
            path = to / f"{one.id}{self._kind.suffix}"
            if not (self._resume and path.exists()):
                with suppress(_NothingReadError):
                    await self._write_one(store, aiter_of([one]), path)

    async def _write_one(self, store: ConversationStore, named: AsyncIterator[ConversationDir], path: Path) -> None:
        before = self.report.conversations
        chunks = export(
            store.reader, named, self._kind, self.report,
            with_secrets=self._with_secrets, encoder=find_encoder(self._kind),
        )  # fmt: skip
        async with aclosing(chunks):
            if path == _STDOUT:
                async for chunk in chunks:
                    sys.stdout.buffer.write(self._shown(chunk))
                sys.stdout.buffer.flush()
                return
            with new_file(path, replace=self._force) as file:
                async for chunk in chunks:
                    file.write(chunk)
                if self.report.unread and self.report.conversations == before:
                    raise _NothingReadError

    def _shown(self, chunk: bytes) -> bytes:
        """Return a chunk for standard output. In a terminal, control characters are escaped."""
        if not sys.stdout.isatty() or self._kind is ExportFormat.ZIP:
            return chunk
        if self._kind is ExportFormat.JSONL:
            return shown_json(chunk).encode()
        return printable(chunk.decode(errors="replace"), lines=True).encode()

    def print(self, where: Path, *, json: bool) -> None:
        """Print the results and the files that were left out."""
        report = self.report
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
            warn(f"{dashed(conversation_id)}: {left_out.name} is left out: {left_out.reason}")
        if len(report.left_out) > _SHOWN:
            warn(f"and {len(report.left_out) - _SHOWN} more; --json names them all")
        if where != _STDOUT and (report.conversations or not report.unread):
            out.print(f"{counted(report.conversations, 'conversation')}, {report.size_bytes:,} bytes: {where}")


def import_command(
    *,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH", help="Zips, JSON Lines files, conversation directories, or directories of these."
        ),
    ],
    on_clash: Annotated[
        OnClash, typer.Option(help="The action for a conversation whose id already exists.")
    ] = OnClash.FAIL,
    new_ids: Annotated[bool, typer.Option("--new-ids", help="Give every conversation a new id.")] = False,
    dry_run: DryRunOption = False,
    no_limits: Annotated[
        bool, typer.Option("--no-limits", help="Accept archives of any size and compression, with any number of files.")
    ] = False,
    context: ContextOptions,
) -> None:
    """Import conversations that convstore or agent-server exported. Everything is checked before anything is written.

    Conversations that already exist with equal files are skipped, so an interrupted import can simply be run again.

    Example: convstore import talk.zip --store workspace/conversations
    """

    async def work(store: ConversationStore) -> list[PlannedImport]:
        with LateBar() as bar:
            return await import_conversations(
                store, paths, NO_LIMITS if no_limits else OWN_ARCHIVE,
                on_clash=on_clash, new_ids=new_ids, dry_run=dry_run, on_progress=bar.show,
            )  # fmt: skip

    _print_plan(context.run(work, may_create=True), dry_run=dry_run, json=context.json)


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
        out.print(printable(f"{dashed(one.target)}  {one.action:<9}  {one.files} files{told}"))
    if len(plan) > _SHOWN:
        out.print(f"and {len(plan) - _SHOWN} more; --json names them all")
    for one in plan:
        for left in one.left_out:
            warn(f"{dashed(one.id)}: {left.name} is left out: {left.reason}")
    done = Counter(one.action for one in plan)
    verb = "would be imported" if dry_run else "imported"
    out.print(f"{done[Action.IMPORT]} {verb}, {done[Action.UNCHANGED]} unchanged, {done[Action.SKIP]} skipped")
