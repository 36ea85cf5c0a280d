"""What appends are measured against does what it says: the schema that it writes to changes with the migrations."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx

from app import ConversationStore, Settings
from app.model.page import SortOrder
from tests.bench import bare_reads
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


async def test_the_bare_reads_answer_a_page_and_files(corpus: Path, tmp_path: Path) -> None:
    async with ConversationStore.open(Settings(store=corpus)) as store:
        await store.sync()
        page = await store.list_conversations(order=SortOrder.UPDATED_AT_DESC, limit=bare_reads.PAGE)
    (tmp_path / "a").write_text("1")
    index = str(corpus / ".convstore" / "index.db")
    application = bare_reads.make_application(index, {"two": [str(tmp_path / "a")] * 2})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://localhost") as client:
        assert (await client.get("/two")).text == "1,1"
        listed = (await client.get("/sql")).content
    assert [item[:80] in listed for item in page.items] == [True] * bare_reads.PAGE
