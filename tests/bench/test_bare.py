"""What appends are measured against does what it says: the schema that it writes to changes with the migrations."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.bench.bare import bare_append
from tests.builders import make_conversation, make_id, names_in
from tests.conftest import StoreOpener


async def test_a_bare_append_writes_a_file_and_the_index(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root)
    async with open_store(root) as store:
        index = store.settings.index_path
    append = bare_append(root / make_id(1) / "bare", index, b"{}", "some words")
    append()
    append()
    assert names_in(root / make_id(1) / "bare") == ["event-0", "event-1", "marker-2", "state.json"]
    with closing(sqlite3.connect(index)) as database:
        assert database.execute("SELECT count(*) FROM event").fetchone() == (4,)
        assert database.execute("SELECT count(*) FROM message WHERE text = 'some words'").fetchone() == (2,)
