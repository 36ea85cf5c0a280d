"""Writes of the library while another program holds the index: done, with a warning, and shown soon after."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import orjson
import pytest

from app import ConversationStore
from app.errors import IndexBusy
from app.files.trash import list_trash, move_to_trash
from app.model.archive_format import ExportFormat
from app.model.ids import ConversationId
from tests.builders import busy_index, index_tables, make_conversation, make_id, names_in
from tests.conftest import StoreOpener
from tests.store.admin.importing import exported, imported, written

ONE, TWO, NEW = (ConversationId(make_id(number)) for number in (1, 2, 9))
START = {"agent": {"llm": {"model": "a/model"}, "tools": []}, "workspace": {"working_dir": "/x"}}
SOON_S = 2.0


async def soon(store: ConversationStore, wanted: set[ConversationId]) -> None:
    until = time.monotonic() + SOON_S
    while True:
        items = [orjson.loads(item) for item in (await store.list_conversations()).items]
        if {item["id"].replace("-", "") for item in items} == wanted:
            return
        assert time.monotonic() < until, items
        await asyncio.sleep(0.02)


async def test_created_forked_and_restored_ones_are_listed_by_themselves(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root)
    make_conversation(root, 2)
    move_to_trash(root, TWO, time.time_ns() // 1000)
    async with open_store(root, busy_timeout_s=0.2) as store:
        with busy_index(root):
            made = await store.create(START)
            fork = await store.fork(ONE)
            back = await store.restore(TWO)
        assert (made.is_new, fork.is_new) == (True, True)
        assert [(done.warning or "")[:13] for done in (made, fork, back)] == ["saved on disk"] * 3
        await soon(store, {ONE, TWO, made.id, fork.id})
        assert await store.count_events(fork.id) == 2
        assert (await store.create(START)).warning is None


async def test_the_last_conversation_is_deleted_and_its_row_goes_by_itself(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root)
    async with open_store(root, busy_timeout_s=0.2) as store:
        with busy_index(root):
            assert (await store.delete(ONE)).warning is not None
        await soon(store, set())
        assert [one.id for one in list_trash(root)] == [ONE]


@pytest.mark.long
async def test_what_was_deleted_and_restored_meanwhile_stays_listed(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root)
    async with open_store(root, busy_timeout_s=0.2) as store:
        with busy_index(root):
            await store.delete(ONE)
            await store.restore(ONE)
        await asyncio.sleep(1)
        await soon(store, {ONE})


async def test_imported_ones_are_told_once_and_listed_by_themselves(
    root: Path, open_store: StoreOpener, archive: Path
) -> None:
    for number in (1, 2):
        make_conversation(root, number)
    async with open_store(root, busy_timeout_s=0.2) as store:
        zipped = written(archive, await exported(store, ExportFormat.ZIP))
        for one in (ONE, TWO):
            await store.delete(one)
        with busy_index(root):
            plan = await imported(store, zipped)
            again = await imported(store, zipped)
        assert [one.warning is None for one in plan] == [False, False]
        assert [(one.action, one.warning) for one in again] == [("unchanged", None)] * 2
        await soon(store, {ONE, TWO})


async def test_a_repair_is_told_with_a_warning(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root, busy_timeout_s=0.2) as store:
        (path / "meta.json").write_text("{")
        with busy_index(root):
            done = await store.repair(ONE)
            assert (len(done.mended), done.warning is None) == (1, False)
        assert (await store.repair(ONE)).warning is None


async def test_archiving_what_cannot_be_read_is_told_with_a_warning(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    (path / "base_state.json").unlink()
    async with open_store(root, busy_timeout_s=0.2) as store:
        with busy_index(root):
            done = await store._set_flags(ONE, {"archived": True}, force=False)
            assert done.warning is not None
        assert json.loads((path / "convstore.json").read_text())["archived"] is True
        await soon(store, set())


async def test_a_store_that_is_closed_leaves_nothing_wrong(root: Path, open_store: StoreOpener) -> None:
    with busy_index(root):
        async with open_store(root, synced=False, busy_timeout_s=0.2) as store:
            made = await store.create(START)
            with pytest.raises(IndexBusy):
                await store.sync()
    assert names_in(root) == [".convstore", made.id]
    async with open_store(root) as store:
        await soon(store, {made.id})
    first = index_tables(root / ".convstore" / "index.db")["conversation"]
    assert len(first) == 1


async def test_a_caller_who_goes_away_leaves_the_rows_to_be_written(root: Path, open_store: StoreOpener) -> None:
    async with open_store(root, busy_timeout_s=5) as store:
        with busy_index(root):
            creating = asyncio.create_task(store.create(START | {"conversation_id": NEW}))
            while not (root / NEW).exists():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            creating.cancel()
        await soon(store, {NEW})
