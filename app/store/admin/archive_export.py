"""Export: the files of conversations as one stream of bytes, in a fixed order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from time import monotonic
from typing import IO, TypeVar

from ...errors import ConversationNotFound
from ...files.archive import export_reader
from ...files.archive.export_formats import Encoder, make_encoder
from ...files.layout import ConversationDir
from ...files.metadata_reader import Reader
from ...index import conversation_list, conversation_lookup
from ...model.archive_format import ExportFormat, LeftOutFile
from ...model.filters import ConversationFilter
from ...model.ids import ConversationId, dashed
from ..read.large_events import LargeFilePermit
from ..read.reader import StoreReader

T = TypeVar("T")

_PAGE = 500
_HOP_BYTES = 1 << 18
"""The bytes that a thread reads before it returns to the event loop. A thread hop costs more than a small file."""

_HOP_S = 0.05
"""A zip may read a hundred times what it yields; an export whose client has gone ends after this time."""

_CHUNK_BYTES = 1 << 20
_THREADS = ThreadPoolExecutor(2, "export")
"""The threads for all exports. Each reads one whole file at a time, and a large one only with the permit."""


@dataclass(slots=True)
class ExportReport:
    """The number of exported conversations and of those that could not be read.

    `left_out` has the files that are not in the export, with the reason.
    """

    conversations: int = 0
    unread: int = 0
    size_bytes: int = 0
    left_out: list[tuple[ConversationId, LeftOutFile]] = field(default_factory=list)


async def list_named(store: StoreReader, asked: ConversationFilter) -> AsyncIterator[ConversationDir]:
    """Yield the conversations that match, in ascending order of their ids."""
    after = ""
    while True:
        async with store.index.read(whole=True) as connection:
            found = await conversation_list.list_located(connection, asked, after, _PAGE)
        for conversation_id, directory in found:
            yield ConversationDir(directory, conversation_id)
        if len(found) < _PAGE:
            return
        after = found[-1][0]


async def find_named(store: StoreReader, ids: Iterable[ConversationId]) -> list[ConversationDir]:
    """Return these conversations without duplicates, in ascending order of their ids.

    Raises:
        ConversationNotFound: the index does not have one of these ids.
    """
    store.index.require_present()
    found = []
    for conversation_id in sorted(set(ids)):
        async with store.index.read() as connection:
            located = await conversation_lookup.locate_conversation(connection, conversation_id)
        if located is None:
            raise ConversationNotFound(f"no conversation has the id {dashed(conversation_id)}")
        found.append(ConversationDir(located.directory, conversation_id))
    return found


async def export(
    reader: Reader,
    named: AsyncIterator[ConversationDir],
    kind: ExportFormat,
    report: ExportReport,
    *,
    with_secrets: bool = False,
    encoder: Encoder | None = None,
) -> AsyncGenerator[bytes]:
    """Yield the bytes of an export, and fill `report`. A conversation that is deleted during the export is left out.

    HTML needs the `encoder` of the page, see `app.web.html_export`.
    """
    encoder = encoder or make_encoder(kind)
    encoder.left_out = report.left_out
    async for one in named:
        permit = LargeFilePermit()
        files = export_reader.read_files(
            reader.root, one.directory, with_secrets=with_secrets, zone=reader.zone, on_large=permit.take
        )
        try:
            async for data in _in_thread(encoder.add(one.id, files), permit):
                report.size_bytes += len(data)
                yield data
        except FileNotFoundError:
            report.left_out.append((one.id, LeftOutFile(one.directory, "it was deleted during the export")))
        except PermissionError as error:
            report.unread += 1
            report.left_out.append((one.id, LeftOutFile(one.directory, f"it cannot be read ({error.strerror})")))
        else:
            report.conversations += 1
    async for data in _in_thread(encoder.end(), LargeFilePermit()):
        report.size_bytes += len(data)
        yield data


async def _in_thread(chunks: Iterator[bytes], permit: LargeFilePermit) -> AsyncIterator[bytes]:
    """Run a generator in a thread, a quarter of a megabyte or a moment at a time.

    The generator takes `permit` before it reads a large file.
    """
    loop = asyncio.get_running_loop()
    pieces = _cut(chunks, permit)
    try:
        while (data := await loop.run_in_executor(_THREADS, _read_some, pieces)) is not None:
            yield data
    finally:
        permit.leave()


def _cut(chunks: Iterator[bytes], permit: LargeFilePermit) -> Iterator[bytes]:
    """Yield the chunks; a large one goes through a temporary file, so that it is not in memory while a client reads."""
    while (chunk := _take(chunks, permit)) is not None:
        if isinstance(chunk, bytes):
            yield chunk
            continue
        with chunk as aside:
            while piece := aside.read(_HOP_BYTES):
                yield piece


def _take(chunks: Iterator[bytes], permit: LargeFilePermit) -> bytes | IO[bytes] | None:
    """Return the next chunk, a large one in a temporary file, or None if there are no more."""
    try:
        chunk = next(chunks, None)
        if chunk is None or len(chunk) <= _CHUNK_BYTES:
            return chunk
        aside = TemporaryFile()  # noqa: SIM115 - the caller closes it
        aside.write(chunk)
        aside.seek(0)
        return aside
    finally:
        permit.end()


def _read_some(chunks: Iterator[bytes]) -> bytes | None:
    """Return the next bytes, or None if there are no more."""
    data: list[bytes] = []
    size = 0
    until = monotonic() + _HOP_S
    for chunk in chunks:
        data.append(chunk)
        size += len(chunk)
        if size >= _HOP_BYTES or monotonic() > until:
            break
    return b"".join(data) if data else None


async def aiter_of(items: Iterable[T]) -> AsyncGenerator[T, None]:
    """Return an asynchronous generator over the items."""
    for item in items:
        yield item
