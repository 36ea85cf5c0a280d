"""The phases of a sync, as they are told to whoever waits."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.builders import index_path, index_tables, make_conversation
from tests.conftest import StoreOpener


async def test_progress_is_told_in_two_phases(root: Path, open_store: StoreOpener) -> None:
    for number in range(3):
        make_conversation(root, number)
    told: list[tuple[str, int, int]] = []
    async with open_store(root, synced=False) as store:
        await store.sync(on_progress=lambda *step: told.append(step))
    assert told[:2] == [("metadata", 3, 3), ("events", 3, 3)]
    assert {phase for phase, *_ in told[2:]} <= {"text"}


async def test_after_many_logs_the_words_are_merged_in_a_phase_of_its_own(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.follow.full_sync._LOG_BATCH", 1)
    monkeypatch.setattr("app.store.follow.full_sync._WORTH_MERGING", 3)
    for number in range(3):
        make_conversation(root, number)
    told: list[tuple[str, str]] = []

    def note(phase: str, _done: int, _total: int) -> None:
        [(stored, *_)] = index_tables(index_path(root))["sync_state"]
        told.append((phase, stored))

    async with open_store(root, synced=False) as store:
        await store.sync(on_progress=note)
        assert (await store.get_status())[0].phase == "idle"
    assert told == [("metadata", "metadata"), *[("events", "events")] * 3, *[("text", "text")] * (len(told) - 4)]
    assert len(told) > 4
    assert count_segments(index_path(root)) == 1


def count_segments(path: Path) -> int:
    """Return in how many parts the index of words is."""
    with closing(sqlite3.connect(path)) as index:
        [[number]] = index.execute("SELECT count(DISTINCT segid) FROM message_fts_idx")
    return int(number)
