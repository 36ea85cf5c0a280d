"""A first sync as the command does it, and its floor, as programs that print their times as JSON.

python -m tests.bench.backfill sync            the store and index of CONVSTORE_STORE and CONVSTORE_INDEX_URL
python -m tests.bench.backfill floor LIMIT     reading and parsing the same files, of at most LIMIT conversations
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from collections import defaultdict
from contextlib import closing
from typing import NamedTuple

import orjson

from app import ConversationStore, Settings
from app.cli.options import make_settings


class Times(NamedTuple):
    """How much was read, and the seconds that it took."""

    conversations: int
    metadata_s: float
    events: int
    events_s: float

    @property
    def conversations_per_s(self) -> float:
        """The speed of the metadata phase."""
        return self.conversations / self.metadata_s

    @property
    def events_per_s(self) -> float:
        """The speed of the events phase."""
        return self.events / self.events_s


def sync(settings: Settings) -> Times:
    """Bring an index up to date; a phase's time ends with its last report. The counts are those of a first build."""
    finished: dict[str, float] = defaultdict(time.perf_counter)

    def note(phase: str, _done: int, _total: int) -> None:
        finished[phase] = time.perf_counter()

    async def run() -> int:
        async with ConversationStore.open(settings) as store:
            finished["opening"] = time.perf_counter()
            return (await store.sync(on_progress=note)).conversations

    conversations = asyncio.run(run())
    with closing(sqlite3.connect(settings.index_path)) as index:
        events: int = index.execute("SELECT count(*) FROM event").fetchone()[0]
    metadata = finished["metadata"]
    return Times(conversations, metadata - finished["opening"], events, finished["events"] - metadata)


def floor(root: str, limit: int) -> Times:
    """Read and parse what the two phases read: both files and the last event of each conversation, then every event."""
    began = time.perf_counter()
    names = [entry.path for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")][:limit]
    for name in names:
        orjson.loads(_read(f"{name}/meta.json"))
        orjson.loads(_read(f"{name}/base_state.json"))
        orjson.loads(_read(f"{name}/events/{max(os.listdir(f'{name}/events'))}"))  # noqa: PTH208 - the floor is plain
    metadata = time.perf_counter()
    events = 0
    for name in names:
        for event in os.listdir(f"{name}/events"):  # noqa: PTH208
            orjson.loads(_read(f"{name}/events/{event}"))
            events += 1
    return Times(len(names), metadata - began, events, time.perf_counter() - metadata)


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def main() -> None:
    """Run what the arguments say and print its times."""
    settings = make_settings()
    times = sync(settings) if sys.argv[1] == "sync" else floor(str(settings.root), int(sys.argv[2]))
    print(orjson.dumps(times._asdict()).decode())


if __name__ == "__main__":
    main()
