"""convstore.json: what convstore keeps of a conversation beside agent-server's files; and tags."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import ConversationOwned, UnreadableFile
from app.model.filters import ConversationFilter, Tag
from app.model.ids import ConversationId
from tests.builders import index_tables, make_conversation, make_id
from tests.conftest import StoreOpener

ONE = ConversationId(make_id(1))


async def test_an_archived_conversation_leaves_lists_and_counts_until_it_is_asked_for(
    root: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root, 1)
    make_conversation(root, 2)
    before = (path / "meta.json").read_bytes()
    async with open_store(root) as store:
        async with store.writer(ONE) as conversation:
            await conversation.update_own(archived=True)
        asked = [ConversationFilter(archived=one) for one in (False, True, None)]
        assert [await store.count_conversations(one) for one in asked] == [1, 1, 2]
        assert [len((await store.list_conversations(one)).items) for one in asked] == [1, 1, 2]
        assert b'"archived":true' in await store.get_conversation(ONE)
        assert await store.verify() == []
        async with store.writer(ONE) as conversation:
            await conversation.update_own(archived=False)
        assert await store.count_conversations() == 2
    assert (path / "meta.json").read_bytes() == before


async def test_a_conversation_is_archived_and_pinned_independently_and_unknown_fields_stay(
    root: Path, open_store: StoreOpener
) -> None:
    own = make_conversation(root, 1) / "convstore.json"
    own.write_text('{"later": {"x": 1.50}}')
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.update_own(pinned=True)
        await conversation.update_own(archived=True)
    assert own.read_text() == '{"later": {"x": 1.50},"pinned":true,"archived":true}'


async def test_what_changes_nothing_writes_nothing(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root, 1)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.update_own(archived=False)
        assert not (path / "convstore.json").exists()


async def test_a_convstore_json_that_appears_is_seen_by_the_next_sync(root: Path, open_store: StoreOpener) -> None:
    path = make_conversation(root, 1)
    async with open_store(root) as store:
        (path / "convstore.json").write_text(json.dumps({"archived": True}))
        assert (await store.sync()).changed == 1
        assert await store.count_conversations() == 0


async def test_a_damaged_convstore_json_is_told_and_archives_nothing(root: Path, open_store: StoreOpener) -> None:
    (make_conversation(root, 1) / "convstore.json").write_text("{")
    async with open_store(root) as store:
        assert await store.count_conversations(ConversationFilter(unreadable=True)) == 1
        async with store.writer(ONE) as conversation:
            await conversation.update_own(archived=True)
        await store.sync()
        assert await store.count_conversations(ConversationFilter(unreadable=False, archived=True)) == 1


def lose(path: Path) -> None:
    path.unlink()


def tear(path: Path) -> None:
    path.write_bytes(b'{"id": "to')


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (lose, ["base_state.json"]),
        (lose, ["base_state.json", "meta.json"]),
        (tear, ["base_state.json"]),
        (tear, ["meta.json"]),
        (tear, ["base_state.json", "meta.json"]),
    ],
)
async def test_one_that_cannot_be_read_is_archived_and_pinned_and_nothing_else_of_it_changes(
    root: Path, open_store: StoreOpener, damage: Callable[[Path], None], names: list[str]
) -> None:
    path = make_conversation(root, 1)
    for name in names:
        damage(path / name)
    kept = {each.name: each.read_bytes() for each in path.iterdir() if each.suffix == ".json"}
    async with open_store(root) as store:
        await store.mark(ONE, archived=True, pinned=True)
        counts = [await store.count_conversations(ConversationFilter(archived=one)) for one in (False, True)]
        assert counts == [0, 1]
        assert await store.count_conversations(ConversationFilter(archived=True, unreadable=True)) == 1
        assert await store.verify() == []
        await store.mark(ONE, archived=False)
        assert await store.count_conversations(ConversationFilter(unreadable=True)) == 1
    assert json.loads((path / "convstore.json").read_bytes()) == {"archived": False, "pinned": True}
    now = {each.name: each.read_bytes() for each in path.iterdir() if each.suffix == ".json"}
    assert {name: raw for name, raw in now.items() if name not in ("convstore.json", "owner_lease.json")} == kept


async def test_one_that_cannot_be_read_and_another_owns_is_not_archived_but_by_force(
    root: Path, open_store: StoreOpener
) -> None:
    path = make_conversation(root, 1)
    (path / "base_state.json").unlink()
    async with open_store(root) as store, open_store(root, synced=False, instance="other") as other:
        await other.claim(ONE, "a-client", ttl_s=60)
        with pytest.raises(ConversationOwned):
            await store.mark(ONE, archived=True)
        assert not (path / "convstore.json").exists()
        await store.mark(ONE, archived=True, force=True)
        assert await store.count_conversations() == 0


async def test_what_needs_the_files_of_one_that_cannot_be_read_says_how_to_mend_them(
    root: Path, open_store: StoreOpener
) -> None:
    (make_conversation(root, 1) / "base_state.json").unlink()
    async with open_store(root) as store:
        with pytest.raises(UnreadableFile, match=rf"base_state.json: missing; `convstore repair {ONE}` mends"):
            async with store.writer(ONE) as conversation:
                await conversation.set_title("Other")
        await store.repair(ONE)
        async with store.writer(ONE) as conversation:
            await conversation.set_title("Other")


@pytest.mark.parametrize(
    ("tags", "count"),
    [
        ([Tag("area")], 3),
        ([Tag("area", "store")], 2),
        ([Tag("area", "store"), Tag("done")], 1),
        ([Tag("area", "store"), Tag("area", "api")], 0),
        ([Tag("are")], 0),
        ([Tag("area", "")], 0),
        ([Tag("done", "")], 1),
        ([Tag("area:store")], 0),
        ([Tag("' OR 1=1 --")], 0),
    ],
)
async def test_tags_are_asked_for_by_key_and_by_value(
    root: Path, open_store: StoreOpener, tags: list[Tag], count: int
) -> None:
    for number, own in enumerate(
        [{"area": "store"}, {"area": "store", "done": ""}, {"area": "api"}, {}, {"other": "store"}], start=1
    ):
        make_conversation(root, number, state={"tags": own})
    async with open_store(root) as store:
        asked = ConversationFilter(tags=tuple(tags))
        assert await store.count_conversations(asked) == len((await store.list_conversations(asked)).items) == count


async def test_tags_follow_what_is_written_and_go_with_their_conversation(root: Path, open_store: StoreOpener) -> None:
    make_conversation(root, 1, state={"tags": {"a": "1", "b": "2"}})
    async with open_store(root) as store:
        async with store.writer(ONE) as conversation:
            await conversation.set_tags({"b": "3", "c": "4"})
        held = index_tables(store.settings.index_path)
        assert held["conversation_tag"] == [(ONE, "b", "3"), (ONE, "c", "4")]
        await store.delete(ONE)
        assert index_tables(store.settings.index_path)["conversation_tag"] == []
