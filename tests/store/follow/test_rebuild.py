"""A rebuild replaces the index while others have it open, goes on after a kill, and refuses nonsense."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app import Settings
from app.errors import ChangesGone, IndexUnusable, InvalidToken, RebuildRefused, SyncRunning
from app.index.sqlite import migrations
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId
from app.model.page import SortOrder
from app.store.follow.full_sync import SyncReport
from app.store.follow.leader import sync_lock
from app.store.follow.rebuild import rebuild
from app.store.store import ConversationStore
from tests.builders import make_conversation, make_id
from tests.conftest import StoreOpener


async def rebuilt(root: Path, *, force: bool = False) -> SyncReport:
    return await rebuild(Settings(store=root), lambda *_: None, force=force)


async def test_a_reader_sees_the_new_index_without_opening_it_again(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1)
    async with open_store(root) as store:
        before, _ = await store.get_status()
        shutil.rmtree(root / make_id(1))
        make_conversation(root, 2)
        make_conversation(root, 3)

        report = await rebuilt(root)

        after, totals = await store.get_status()
        assert (report.conversations, report.added) == (2, 2)
        assert totals.conversations == 2
        assert await store.count_conversations() == 2
        assert after.epoch != before.epoch
        assert after.revision > before.revision
        assert (await store.sync()).opened == 0


async def test_it_makes_an_index_where_there_is_none(tmp_path: Path) -> None:
    make_conversation(tmp_path, 1)
    assert (await rebuilt(tmp_path)).added == 1
    assert migrations.drift(tmp_path / ".convstore" / "index.db") == []
    assert not list((tmp_path / ".convstore").glob("rebuild.db*"))


async def test_what_a_killed_rebuild_read_is_not_read_again(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1)
    make_conversation(root, 2)
    async with open_store(root):
        pass
    shutil.copyfile(root / ".convstore" / "index.db", root / ".convstore" / "rebuild.db")
    make_conversation(root, 3)
    assert (await rebuilt(root)).opened == 1


async def test_each_rebuild_ends_what_was_followed_before_also_one_that_was_resumed(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise IndexUnusable("the disk fails")

    make_conversation(root, 1)
    make_conversation(root, 2)
    async with open_store(root) as store:
        with monkeypatch.context() as patched:
            patched.setattr("app.store.follow.rebuild._discard", fail)
            await rebuilt(root)
        make_conversation(root, 3)
        await store.sync()
        place = await store.get_place()
        shutil.rmtree(root / make_id(1))
        assert (await rebuilt(root)).opened == 1
        with pytest.raises(ChangesGone):
            await store.list_changes(place)


async def test_an_empty_result_is_refused(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1)
    async with open_store(root) as store:
        shutil.rmtree(root / make_id(1))
        with pytest.raises(RebuildRefused, match="is empty"):
            await rebuilt(root)
        assert await store.count_conversations() == 1
        await rebuilt(root, force=True)
        assert await store.count_conversations() == 0


async def test_a_mostly_unreadable_result_is_refused(root: Path, open_store: StoreOpener) -> None:
    for number in (1, 2, 3):
        make_conversation(root, number)
    async with open_store(root) as store:
        for number in (1, 2):
            (root / make_id(number) / "base_state.json").write_bytes(b"")
        with pytest.raises(RebuildRefused, match="2 of 3"):
            await rebuilt(root)
        _, totals = await store.get_status()
        assert totals.unreadable == 0


async def test_a_damaged_index_is_set_aside(root: Path) -> None:
    make_conversation(root, 1)
    path = root / ".convstore" / "index.db"
    path.write_bytes(b"this is no database, not at all" * 100)
    await rebuilt(root)
    [aside] = path.parent.glob("index.db.damaged-*")
    assert aside.read_bytes().startswith(b"this is no database")
    async with ConversationStore.open(Settings(store=root)) as store:
        assert await store.count_conversations() == 1


async def test_it_waits_for_no_other_sync(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1)
    async with open_store(root) as store, sync_lock(store.index):
        with pytest.raises(SyncRunning):
            await rebuilt(root)


async def test_a_token_of_before_still_leads_on(root: Path, open_store: StoreOpener) -> None:
    for number in (1, 2, 3):
        make_conversation(root, number)
    async with open_store(root) as store:
        first = await store.list_conversations(limit=2)
        await rebuilt(root)
        second = await store.list_conversations(limit=2, page_id=first.next_page_id)
    assert (len(first.items), len(second.items), second.next_page_id) == (2, 1, None)


async def test_a_search_does_not_go_on_in_an_index_that_numbers_its_matches_in_another_way(
    root: Path, open_store: StoreOpener
) -> None:
    for number in (3, 2, 1):
        make_conversation(root, number, meta={"title": "lease"})
        async with open_store(root) as store:  # each gets the next number; a rebuild goes by their names
            hits = await store.search_messages("lease", limit=1)
            asked = ConversationFilter(q="lease")
            listed = await store.list_conversations(asked, order=SortOrder.RELEVANCE, limit=1)
    assert hits.items[0].conversation_id == ConversationId(make_id(1))
    async with open_store(root) as store:
        await rebuilt(root)
        with pytest.raises(InvalidToken, match="index was rebuilt"):
            await store.search_messages("lease", page_id=hits.next_page_id)
        with pytest.raises(InvalidToken, match="index was rebuilt"):
            await store.list_conversations(asked, order=SortOrder.RELEVANCE, page_id=listed.next_page_id)
