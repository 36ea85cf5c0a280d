"""Copies of a store that are made, file by file as rsync and restic do, while a server writes to it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from app import ConversationStore
from app.model.ids import ConversationId
from app.store.follow.verify import verify
from tests.builders import SecondProcess, make_conversation, make_id, second_process
from tests.conftest import StoreOpener

WRITE = """
import asyncio, sys, uuid
from app import ConversationStore, Settings

def event(number):
    return {
        "id": str(uuid.uuid4()), "kind": "MessageEvent", "source": "user", "timestamp": "2026-11-01T12:00:00",
        "llm_message": {"role": "user", "content": [{"type": "text", "text": f"message {number}"}]},
    }

async def write(root, ids):
    async with ConversationStore.open(Settings(store=root)) as store:
        await store.sync()
        for number in range(1_000_000):
            async with store.writer(ids[number % len(ids)]) as conversation:
                await conversation.append(event(number))
                await conversation.set_title(f"title {number}")
            if number == 2:
                print("writing", flush=True)

asyncio.run(write(sys.argv[1], sys.argv[2:]))
"""


@contextmanager
def written_to(root: Path) -> Iterator[SecondProcess]:
    """Have another process write to a store's conversations meanwhile."""
    ids = [make_id(number) for number in (1, 2, 3)]
    for number in (1, 2, 3):
        make_conversation(root, number)
    with second_process(WRITE, root, *ids) as writer:
        assert writer.hear() == "writing"
        yield writer


def copy(source: Path, target: Path) -> None:
    """Copy what changed, a file after the other, and delete what is gone: `rsync -a --delete --exclude .convstore`."""
    there: set[Path] = set()
    for directory, names, files in os.walk(source):
        if ".convstore" in names:
            names.remove(".convstore")
        here = target / Path(directory).relative_to(source)
        here.mkdir(exist_ok=True, parents=True)
        for name in sorted(files):
            there.add(here / name)
            with suppress(FileNotFoundError):
                status = (Path(directory) / name).stat()
                if not _is_same(here / name, status):
                    shutil.copy2(Path(directory) / name, here / name)
    for path in target.rglob("*"):
        if path.is_file() and path not in there:
            path.unlink()


def _is_same(path: Path, status: os.stat_result) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (there.st_size, there.st_mtime_ns) == (status.st_size, status.st_mtime_ns)


async def differences(store: ConversationStore) -> list[object]:
    return [difference async for difference in verify(store.context, lambda _done, _total: None)]


@pytest.mark.long
@pytest.mark.parametrize("passes", [1, 2])
async def test_a_copy_without_the_index_is_a_store(
    root: Path, tmp_path: Path, open_store: StoreOpener, passes: int
) -> None:
    target = tmp_path / "copy"
    with written_to(root):
        for _ in range(passes):
            copy(root, target)
    async with open_store(target) as store:
        assert await differences(store) == []
        page = await store.list_conversations()
        for body in page.items:
            info = json.loads(body)
            assert (info.get("unreadable"), info["id"][-1] in "123") == (None, True)
            log = await store.list_events(ConversationId(info["id"].replace("-", "")), limit=100)
            assert log.unreadable == []
    assert len(page.items) == 3


async def test_a_copy_can_be_written_to_although_its_lease_names_another_owner(
    root: Path, tmp_path: Path, open_store: StoreOpener
) -> None:
    with written_to(root):
        copy(root, tmp_path / "copy")
    async with open_store(tmp_path / "copy") as store, store.writer(ConversationId(make_id(1))) as conversation:
        await conversation.set_title("mine")
        assert await differences(store) == []
