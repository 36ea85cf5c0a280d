"""Which directory holds a conversation, and which conversation a beginning of an id means."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest

from app.errors import ConversationNotFound
from app.model.ids import ConversationId, dashed
from tests.builders import (
    busy_index,
    index_tables,
    make_conversation,
    make_id,
    make_meta,
)
from tests.conftest import StoreOpener
from tests.store.helpers import ONE, title


@pytest.mark.parametrize("directory", [ONE, dashed(ONE)])
async def test_a_conversation_that_appeared_after_the_sync_is_found(
    root: Path, open_store: StoreOpener, directory: str
) -> None:
    async with open_store(root) as store:
        make_conversation(root, directory=directory, meta={"title": "New"})
        assert await title(store) == "New"
        assert await store.count_events(ONE) == 2


async def test_a_deleted_directory_is_not_found_and_its_rows_go_with_the_next_sync(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root, 2)
    async with open_store(root) as store:
        without = index_tables(root / ".convstore" / "index.db")
        directory = make_conversation(root, 1)
        await store.sync()
        shutil.rmtree(directory)
        with pytest.raises(ConversationNotFound, match=dashed(ONE)):
            await store.get_conversation(ONE)
        await store.sync()
    assert index_tables(root / ".convstore" / "index.db") == without


async def test_a_renamed_directory_is_followed(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, events=1)
    async with open_store(root) as store:
        body = await store.get_conversation(ONE)
        directory.rename(root / dashed(ONE))
        assert await store.get_conversation(ONE) == body
        assert len((await store.list_events(ONE)).items) == 1


ONE = ConversationId(make_id(1))
AGENT = {"kind": "Agent", "llm": {"model": "a/model"}, "agent_context": {"skills": [{"name": "a skill"}]}}


async def test_skills_come_only_when_asked_for_and_change_nothing_else(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, state={"agent": AGENT})
    make_conversation(root, 2, meta={"parent_conversation_id": ONE})
    async with open_store(root) as store:
        without = orjson.loads(await store.get_conversation(ONE))
        whole = orjson.loads(await store.get_conversation(ONE, include_skills=True))
    assert without["agent"]["agent_context"]["skills"] == []
    assert whole["agent"]["agent_context"]["skills"] == [{"name": "a skill"}]
    del without["agent"], whole["agent"]
    assert whole == without


async def test_behind_a_warning_a_conversation_is_shown_as_its_files_are(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root)
    async with open_store(root, busy_timeout_s=0.1) as store:
        listed = orjson.loads(await store.get_conversation(ONE))
        (path / "meta.json").write_bytes(orjson.dumps(make_meta(ONE, title="Changed")))
        with busy_index(root):
            body, warning = await store.describe(ONE, "the index is behind")
    assert (orjson.loads(body), warning) == (listed | {"title": "Changed"}, "the index is behind")
