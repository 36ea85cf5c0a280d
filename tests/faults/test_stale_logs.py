"""A write-ahead log that is lost, older than its database, or of another moment: detected, or harmless after a look."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app import ConversationStore
from app.index.sqlite.database import Index
from app.model.ids import ConversationId
from tests.builders import index_path, index_tables, make_conversation, make_id
from tests.conftest import StoreOpener

pytestmark = pytest.mark.long

SEEDS = int(os.environ.get("CONVSTORE_TEST_FAULTS", "12")) // 3
"""One for each of the faults here, 100 with `make true`."""
MOMENTS = 4
NUMBER = 40


class Moments:
    """The index's files as they were at several moments while it was open, and how they are put together wrongly."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: list[dict[str, bytes]] = []

    def keep(self) -> None:
        """Keep the files as they are now."""
        parts = {suffix: self._path.with_name(self._path.name + suffix) for suffix in ("", "-wal", "-shm")}
        self._kept.append({suffix: part.read_bytes() for suffix, part in parts.items() if part.exists()})

    def put(self, suffix: str, moment: int) -> None:
        """Put one of the files back as it was at a moment."""
        self._path.with_name(self._path.name + suffix).write_bytes(self._kept[moment][suffix])

    def lose_the_log(self, moment: int) -> None:
        self.put("", moment)

    def put_an_old_log_beside_a_newer_database(self, moment: int) -> None:
        self.put("-wal", moment)

    def put_back_log_and_memory(self, moment: int) -> None:
        self.put("-wal", moment)
        self.put("-shm", moment)

    def put_another_moments_log_beside_an_old_database(self, moment: int) -> None:
        self.put("", moment)
        self.put("-wal", -1 - moment)


STALE = [
    Moments.lose_the_log,
    Moments.put_an_old_log_beside_a_newer_database,
    Moments.put_back_log_and_memory,
    Moments.put_another_moments_log_beside_an_old_database,
]


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_stale_or_lost_log_is_detected_or_harmless(root: Path, open_store: StoreOpener, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    moments = Moments(index_path(root))
    for number in range(1, NUMBER + 1):
        make_conversation(root, number)
    async with open_store(root) as store:
        for _ in range(MOMENTS):
            for _ in range(dice.randrange(1, 20)):
                number += 1
                make_conversation(root, number, events=dice.randrange(4))
                await change(store, make_id(dice.randrange(1, number)), dice)
            await store.sync()
            moments.keep()
            if dice.random() < 0.5:
                assert isinstance(store.index, Index)
                async with store.index.locked():
                    checkpoint(store.settings.index_path)
    whole = index_tables(index_path(root))
    STALE[seed % len(STALE)](moments, dice.randrange(MOMENTS))
    async with open_store(root) as store:
        await store.verify(fix=True)
    async with open_store(root) as store:
        assert await store.verify() == []
    assert index_tables(index_path(root)) == whole


def checkpoint(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def change(store: ConversationStore, conversation: str, dice: random.Random) -> None:
    """Change one conversation, in its files and in the index, or delete it."""
    conversation_id = ConversationId(conversation)
    if (await store.find_conversations([conversation_id]))[0] is None:
        return
    if dice.random() < 0.2:
        await store.delete(conversation_id)
        return
    async with store.writer(conversation_id) as writer:
        await writer.set_title(f"title {dice.random()}")
