"""What appends are measured against does what it says: the schema that it writes to changes with the migrations."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from tests.bench.bare import BareIndex, bare_append
from tests.builders import make_conversation, make_id, names_in
from tests.conftest import StoreOpener


async def test_a_bare_append_writes_a_file_and_the_index(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root)
    async with open_store(root) as store:
        path = store.settings.index_path
    index = BareIndex(path, "some words")
    appends = [bare_append(root / make_id(1) / name, index, b"{}") for name in ("bare", "other")]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda append: [append(), append()], appends))
    assert names_in(root / make_id(1) / "bare") == ["event-0", "event-1", "marker-2", "state.json"]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM event").fetchone() == (6,)
        assert database.execute("SELECT count(*) FROM message WHERE text = 'some words'").fetchone() == (4,)
