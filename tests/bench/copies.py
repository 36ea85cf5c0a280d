"""CPU time of forks and exports of long conversations, an event, beyond copying or reading the same files.

It is measured in memory where there is a `/dev/shm`, because a disk's share of the CPU time changes by the second.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from app import ConversationStore, Settings
from app.model.archive_format import ExportFormat
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId
from tests.bench.generate import add_long_conversation
from tests.bench.measure import Sample
from tests.bench.rows import Effort, Row, bounded

_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of its own is made in it
_EVENT_US = 30
_SETTLE_S = 2.5
"""A file that changed within two seconds of its check is not trusted and read again; the store is left alone first."""

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL

Work = Callable[[ConversationStore, ConversationId], Awaitable[None]]


def measure_copies(directory: Path, events: int, effort: Effort) -> list[Row]:
    """Measure conversations of a tenth of `events` and of `events`, in memory or else under `directory`."""
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else directory
    with tempfile.TemporaryDirectory(prefix="convstore-copies-", dir=place) as name:
        return asyncio.run(_measure(Path(name), (events // 10, events), effort.rounds))


async def _measure(root: Path, sizes: tuple[int, int], rounds: int) -> list[Row]:
    ids = [add_long_conversation(root / "store", size) for size in sizes]
    await asyncio.sleep(_SETTLE_S)
    async with ConversationStore.open(Settings(store=root / "store")) as store:
        await store.sync()

        def events_of(one: ConversationId) -> Path:
            return root / "store" / one / "events"

        works: dict[str, tuple[Work, Callable[[Path], None]]] = {
            "a fork, beyond copying the files": (_fork, partial(_copy, target=root / "bare")),
            "an export as a zip, beyond reading and deflating": (partial(_export, kind=ExportFormat.ZIP), _deflate),
            "an export as JSON Lines, beyond reading": (partial(_export, kind=ExportFormat.JSONL), _read),
        }
        rows = []
        for name, (work, bare) in works.items():
            found: dict[ConversationId, tuple[list[float], list[float]]] = {one: ([], []) for one in ids}
            for _ in range(rounds):
                for one, size in zip(ids, sizes, strict=True):
                    began = time.process_time()
                    bare(events_of(one))
                    between = time.process_time()
                    await work(store, one)
                    took = time.process_time()
                    found[one][0].append((took - between - (between - began)) / size * 1e6)
                    found[one][1].append((between - began) / size * 1e6)
                    shutil.rmtree(root / "bare", ignore_errors=True)
                await _forget_copies(store, ids)
            small, large = (Sample.of(found[one][0]) for one in ids)
            bare_us = [Sample.of(found[one][1]) for one in ids]
            row = Row(f"{name}, {sizes[0]:,} and {sizes[1]:,} events", "CPU us", small, large)
            rows += [bounded(row, at_most=_EVENT_US), Row("what that is beyond", "CPU us", bare_us[0], bare_us[1])]
        return rows


async def _fork(store: ConversationStore, one: ConversationId) -> None:
    await store.fork(one)


async def _export(store: ConversationStore, one: ConversationId, kind: ExportFormat) -> None:
    async for _ in store.export([one], kind):
        pass


async def _forget_copies(store: ConversationStore, ids: list[ConversationId]) -> None:
    for one in await store.list_ids(ConversationFilter()):
        if one not in ids:
            await store.delete(one, permanent=True)


def _files_of(events: Path) -> list[bytes]:
    """Read the files by their names in the open directory, in order."""
    descriptor = os.open(events, os.O_RDONLY)
    try:
        return [_read_file(name, descriptor) for name in _names(descriptor)]
    finally:
        os.close(descriptor)


def _names(directory: int) -> list[str]:
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries)


def _read_file(name: str, directory: int) -> bytes:
    file = os.open(name, os.O_RDONLY, dir_fd=directory)
    raw = os.read(file, os.fstat(file).st_size)
    os.close(file)
    return raw


def _copy(events: Path, target: Path) -> None:
    """Copy the files one after the other, and let the file system write all of them."""
    target.mkdir()
    source, copies = os.open(events, os.O_RDONLY), os.open(target, os.O_RDONLY)
    for name in _names(source):
        raw = _read_file(name, source)
        file = os.open(name, _FLAGS, 0o644, dir_fd=copies)
        os.write(file, raw)
        os.close(file)
    os.fsync(copies)
    os.close(copies)
    os.close(source)


def _read(events: Path) -> None:
    for _ in _files_of(events):
        pass


def _deflate(events: Path) -> None:
    for raw in _files_of(events):
        zlib.compress(raw)
