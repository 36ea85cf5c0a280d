"""Import: first the whole archive is checked, then each conversation is published complete and ingested.

An interrupted import can simply be run again, because a conversation that already exists with equal files is skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum
from itertools import chain, islice, product, repeat
from pathlib import Path
from uuid import UUID, uuid5

from ... import trail
from ...errors import ArchiveRefused, ConversationExists, StoreUnavailable, WriteFailed
from ...files import layout, staging
from ...files.archive.export_reader import read_files
from ...files.archive.file_kind import find_format
from ...files.archive.import_jsonl import JsonLinesSource
from ...files.archive.import_sources import DirectorySource, Incoming, Source
from ...files.archive.import_zip import ZipSource
from ...files.layout import ConversationDir, Kind
from ...files.metadata_reader import Reader
from ...files.staging import ContentDigest, Staged
from ...model.archive_format import (
    ArchiveFile,
    ExportFormat,
    LeftOutFile,
    Limits,
    OnClash,
    split_subagent_path,
    with_new_ids,
)
from ...model.ids import ConversationId, dashed, find_conversation_id
from ..follow.full_sync import OnProgress, ignore_progress
from ..store import ConversationStore

_BATCH = 100
_NEW_IDS = UUID("6f0f6b0e-7c0e-4d5c-9d0e-5b1f6a6e2c11")
"""The namespace for new ids. It must never change, so that a repeated import computes the same ids."""
_SHOWN = 5
_SUFFIXES = (ExportFormat.ZIP.suffix, ExportFormat.JSONL.suffix)


class Action(StrEnum):
    """What an import does with a conversation."""

    IMPORT = "import"
    UNCHANGED = "unchanged"
    SKIP = "skip"


@dataclass(slots=True)
class PlannedImport:
    """A conversation of an archive, and the action for it. `target` is its id in the store."""

    source: str
    id: ConversationId
    target: ConversationId
    action: Action
    files: int
    size_bytes: int
    digest: bytes
    left_out: list[LeftOutFile] = field(default_factory=list)
    subagents: dict[ConversationId, ConversationId] = field(default_factory=dict)
    """The new ids of the conversations of sub-agents below it, if it gets a new id itself."""
    warning: str | None = None
    """A warning if the index does not show the conversation yet. The index is updated without another import."""


def find_sources(paths: Iterable[Path], limits: Limits, zone: tzinfo | None) -> list[Source]:
    """Return the sources to read. A path is an archive, a conversation's directory, or a directory of these.

    `zone` is the time zone of event times without one.

    Raises:
        ArchiveRefused: there is nothing to import, or a path cannot be read.
    """
    sources = [source for path in paths for source in _list_sources(path, limits, zone)]
    if not sources:
        raise ArchiveRefused(
            "nothing to import: found no .zip, no .jsonl and no conversation directory; check the paths"
        )
    return sources


def _list_sources(path: Path, limits: Limits, zone: tzinfo | None) -> Iterator[Source]:
    if not path.is_dir():
        yield _open_archive(path, limits)
        return
    archives = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())
    yield from (_open_archive(file, limits) for file in archives)
    directory = DirectorySource(path, limits, zone)
    if next(directory.read(), None) is not None:
        yield directory


def _open_archive(path: Path, limits: Limits) -> Source:
    if path.suffix.lower() == ExportFormat.MARKDOWN.suffix:
        raise ArchiveRefused(f"{path} is Markdown, which cannot be imported; export as zip or jsonl instead")
    kind = find_format(path, path.name)
    return JsonLinesSource(path, limits) if kind is ExportFormat.JSONL else ZipSource(path, limits)


async def import_conversations(
    store: ConversationStore,
    paths: Sequence[Path],
    limits: Limits,
    *,
    on_clash: OnClash = OnClash.FAIL,
    new_ids: bool = False,
    dry_run: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> list[PlannedImport]:
    """Import conversations, and return the action for each. With `dry_run`, write nothing.

    A conversation that exists with the same files stays unchanged for every `on_clash`. A new id is computed from the
    old id and the content, so that a repeated import computes the same id.

    Raises:
        ArchiveRefused, ArchiveTooLarge: an archive must not be imported; nothing was written.
        ConversationExists: an id already has a conversation, and `on_clash` is FAIL; nothing was written.
        DirectoryTaken: a directory's name is used by something other than a conversation; nothing was written.
        ImportRunning: another process is importing.
        DiskFull, WriteFailed: a conversation could not be written; the ones before it are imported.
        StoreUnavailable: a file could not be read; the conversations before it are imported.
    """
    try:
        return await _import(store, paths, limits, on_clash, new_ids, dry_run, on_progress)
    except OSError as error:
        raise StoreUnavailable(
            f"the import stopped: {error.filename or 'a file'} cannot be read ({error.strerror}). "
            "Earlier conversations are imported. Check the disk, and import again"
        ) from error


async def _import(
    store: ConversationStore,
    paths: Sequence[Path],
    limits: Limits,
    on_clash: OnClash,
    new_ids: bool,
    dry_run: bool,
    on_progress: OnProgress,
) -> list[PlannedImport]:
    root = store.reader.root
    store.index.require_present()
    sources = await asyncio.to_thread(find_sources, paths, limits, store.reader.zone)
    planner = _Planner(store.reader, on_clash, new_ids=new_ids)
    if dry_run:
        return await asyncio.to_thread(planner.plan, sources, on_progress)
    lock = staging.import_lock(root)
    await asyncio.to_thread(lock.__enter__)
    try:
        plan = await asyncio.to_thread(planner.plan, sources, on_progress)
        size_bytes = sum(planned.size_bytes for planned in plan if planned.action is Action.IMPORT)
        await asyncio.to_thread(staging.require_space, root, size_bytes)
        await _carry_out(store, sources, plan, on_progress)
    finally:
        lock.__exit__(None, None, None)
    return plan


class _Planner:
    """Reads all sources once, and decides the action for each conversation."""

    def __init__(self, reader: Reader, on_clash: OnClash, *, new_ids: bool) -> None:
        self._root = reader.root
        self._zone = reader.zone
        self._on_clash = on_clash
        self._new_ids = new_ids
        self._seen: dict[ConversationId, bytes] = {}
        self._clashes: list[ConversationId] = []

    def plan(self, sources: Sequence[Source], on_progress: OnProgress) -> list[PlannedImport]:
        plan = []
        for source in sources:
            for incoming in source.read():
                plan.append(self._decide(source, incoming))
                on_progress("checked", len(plan), len(plan))
        if self._clashes:
            shown = ", ".join(dashed(one) for one in self._clashes[:_SHOWN])
            raise ConversationExists(
                f"{len(self._clashes)} of {len(plan)} conversations exist with other content ({shown}); nothing was "
                "imported. Choose with --on-clash (on_clash): skip omits these, new-id imports them under new ids"
            )
        return plan

    def _decide(self, source: Source, incoming: Incoming) -> PlannedImport:
        contents, left_out = ContentDigest(), []
        below: set[str] = set()
        for file in incoming.files:
            below.update(split_subagent_path(file.name)[0])
            if isinstance(file, LeftOutFile):
                left_out.append(file)
            else:
                contents.add(file)
        digest = contents.digest()
        target, action = self._choose_target(source, incoming.id, digest)
        planned = PlannedImport(
            source.name, incoming.id, target, action, contents.files, contents.size_bytes, digest, left_out
        )
        if target != incoming.id:
            old = filter(None, map(find_conversation_id, below))
            planned.subagents = {one: _derive_id(one, target) for one in old}
        return planned

    def _choose_target(self, source: Source, old_id: ConversationId, digest: bytes) -> tuple[ConversationId, Action]:
        if old_id in self._seen:
            if self._seen[old_id] != digest:
                raise ArchiveRefused(
                    f"{source.name}: conversation {dashed(old_id)} occurs twice with different content; remove one"
                )
            return old_id, Action.UNCHANGED
        self._seen[old_id] = digest
        if not self._new_ids:
            directory, kind = layout.find_occupant(self._root, old_id)
            if kind is None or kind is Kind.GHOST:
                return old_id, Action.IMPORT
            if kind is Kind.CONVERSATION and self._is_equal(directory, digest):
                return old_id, Action.UNCHANGED
            if self._on_clash is OnClash.SKIP:
                return old_id, Action.SKIP
            if self._on_clash is OnClash.FAIL:
                if kind is Kind.OTHER:
                    raise layout.directory_taken(self._root, directory)
                self._clashes.append(old_id)
                return old_id, Action.SKIP
        target = _derive_id(old_id, digest.hex())
        directory, kind = layout.find_occupant(self._root, target)
        if kind is Kind.OTHER:
            raise layout.directory_taken(self._root, directory)
        return target, Action.UNCHANGED if kind is Kind.CONVERSATION else Action.IMPORT

    def _is_equal(self, directory: str, digest: bytes) -> bool:
        """Whether a directory has these files, unchanged or as an export writes them (masked, `updated_at` set)."""
        return any(
            self._digest(directory, with_secrets=with_secrets, as_listed=as_listed) == digest
            for as_listed, with_secrets in product((True, False), repeat=2)
        )

    def _digest(self, directory: str, *, with_secrets: bool, as_listed: bool) -> bytes:
        contents = ContentDigest()
        files = read_files(self._root, directory, with_secrets=with_secrets, as_listed=as_listed, zone=self._zone)
        for file in files:
            if isinstance(file, ArchiveFile):
                contents.add(file)
        return contents.digest()


def _derive_id(old_id: ConversationId, of: str) -> ConversationId:
    """Return the new id of a conversation, computed from the old id and its content or its parent's new id."""
    return ConversationId(uuid5(_NEW_IDS, f"{old_id}:{of}").hex)


async def _carry_out(
    store: ConversationStore, sources: Sequence[Source], plan: Sequence[PlannedImport], on_progress: OnProgress
) -> None:
    new_ids = {one.id: one.target for one in plan if one.target != one.id}
    incoming = chain.from_iterable(source.read() for source in sources)
    staged = _stage_each(store.reader.root, incoming, plan, new_ids)
    done = 0
    while True:
        batch: list[PlannedImport] = []
        try:
            await asyncio.to_thread(_publish_batch, store.reader.root, staged, batch)
        finally:  # after an error, ingest the conversations that were published before it
            published = [one for one in batch if one.action is Action.IMPORT]
            trail.mention([dashed(one.target) for one in published])
            ingested = await store.backlog.upsert_rows([ConversationDir(one.target, one.target) for one in published])
            for one in published:
                one.warning = ingested.warning
        if not batch:
            return
        done += len(batch)
        on_progress("imported", done, len(plan))


def _publish_batch(
    root: Path, staged: Iterator[tuple[PlannedImport, Staged | None]], batch: list[PlannedImport]
) -> None:
    """Publish the next conversations.

    Adds each published one to `batch`, so that they are known if a later one fails.
    """
    waiting: list[Staged] = []
    plans: list[PlannedImport] = []
    try:
        for planned, one in islice(staged, _BATCH):
            if one is None:
                batch.append(planned)
            else:
                waiting.append(one)
                plans.append(planned)
    finally:
        if waiting:
            for planned, _ in zip(plans, staging.publish(root, waiting), strict=True):
                batch.append(planned)


def _stage_each(
    root: Path,
    incoming: Iterator[Incoming],
    plan: Sequence[PlannedImport],
    new_ids: Mapping[ConversationId, ConversationId],
) -> Iterator[tuple[PlannedImport, Staged | None]]:
    for planned in plan:
        one = next(incoming, None)
        if one is None or one.id != planned.id:
            raise _changed(planned)
        files = _as_planned(one.files, planned)
        if planned.action is Action.IMPORT:
            ids = {**new_ids, **planned.subagents}
            yield planned, staging.stage(root, planned.target, map(with_new_ids, files, repeat(ids)))
        else:
            yield planned, None


def _as_planned(files: Iterable[ArchiveFile | LeftOutFile], planned: PlannedImport) -> Iterator[ArchiveFile]:
    """Yield the files. Raises at the end if they differ from those that were checked."""
    contents = ContentDigest()
    for file in files:
        if isinstance(file, ArchiveFile):
            contents.add(file)
            yield file
    if contents.digest() != planned.digest:
        raise _changed(planned)


def _changed(planned: PlannedImport) -> WriteFailed:
    return WriteFailed(f"{planned.source} changed during the import; earlier conversations are imported. Import again")
