"""Exports: the same files give the same bytes, and what cannot be read is left out and named."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from app.errors import ConversationNotFound
from app.model.archive_format import ExportFormat
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId
from app.store.admin.archive_export import ExportReport, aiter_of, export, find_named, list_named
from app.store.read.large_events import LargeFilePermit
from tests.builders import make_conversation, make_event, make_id, write_event
from tests.conftest import StoreOpener
from tests.store.admin.importing import exported

ONE, TWO = ConversationId(make_id(1)), ConversationId(make_id(2))


@pytest.mark.parametrize("kind", list(ExportFormat))
async def test_the_same_files_give_the_same_bytes_whatever_their_times_are(
    root: Path, open_store: StoreOpener, kind: ExportFormat
) -> None:
    for number in (2, 1):
        make_conversation(root, number)
    async with open_store(root) as store:
        before = await exported(store, kind)
        for file in root.glob("*/**/*.json"):
            os.utime(file, (1_700_000_000, 1_700_000_000))
        assert await exported(store, kind) == before


async def test_an_abandoned_export_does_not_keep_its_thread(root: Path, open_store: StoreOpener) -> None:
    large = make_conversation(root, 1, events=1)
    write_event(large, 1, make_event(1) | {"extra": "x" * (1 << 20)})
    make_conversation(root, 2)
    permit = LargeFilePermit()
    permit.take()
    async with open_store(root) as store:
        for _ in range(3):
            named = aiter_of(await find_named(store, [ONE]))
            task = asyncio.ensure_future(anext(export(store.reader, named, ExportFormat.ZIP, ExportReport())))
            await asyncio.wait([task], timeout=0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        try:
            named = aiter_of(await find_named(store, [TWO]))
            assert [chunk async for chunk in export(store.reader, named, ExportFormat.ZIP, ExportReport())]
        finally:
            permit.end()


async def test_conversations_are_named_in_order_of_their_ids_and_each_once(root: Path, open_store: StoreOpener) -> None:
    for number in (2, 1):
        make_conversation(root, number)
    async with open_store(root) as store:
        assert [one.id for one in await find_named(store, [TWO, ONE, TWO])] == [ONE, TWO]
        assert [one.id async for one in list_named(store, ConversationFilter())] == [ONE, TWO]
        with pytest.raises(ConversationNotFound, match="no conversation has the id"):
            await find_named(store, [ConversationId(make_id(3))])


async def test_what_is_deleted_meanwhile_is_left_out_and_named(root: Path, open_store: StoreOpener) -> None:
    for number in (1, 2):
        make_conversation(root, number)
    report = ExportReport()
    async with open_store(root) as store:
        named = list_named(store, ConversationFilter())
        shutil.rmtree(root / ONE)
        raw = b"".join([chunk async for chunk in export(store.reader, named, ExportFormat.JSONL, report)])
    assert (report.conversations, report.size_bytes) == (1, len(raw))
    assert [(one, left.reason) for one, left in report.left_out] == [(ONE, "it was deleted during the export")]
