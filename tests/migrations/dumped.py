"""Keeps the corpus's index as this program makes it, for the tests of all programs to come.

python -m tests.migrations.dumped

Run it before a new migration is added: it writes tests/data/indexes/HEAD.db.gz.
"""

from __future__ import annotations

import asyncio
import gzip
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from app import ConversationStore, Settings
from app.index.sqlite.backup import back_up
from app.index.sqlite.migrations import HEAD
from tests.conftest import DATA


async def build(settings: Settings) -> None:
    """Make the index."""
    async with ConversationStore.open(settings) as store:
        await store.sync()


def main() -> None:
    """Unpack, index, copy."""
    with TemporaryDirectory() as name:
        with tarfile.open(DATA / "conversations.tar.gz") as archive:
            archive.extractall(name, filter="data")
        settings = Settings(store=Path(name) / "conversations", timezone="UTC")
        asyncio.run(build(settings))
        copy = back_up(settings.index_path, Path(name) / "copy.db").path.read_bytes()
    target = DATA / "indexes" / f"{HEAD}.db.gz"
    target.write_bytes(gzip.compress(copy, mtime=0))
    print(target)


if __name__ == "__main__":
    main()
