"""Lists and counts: which conversations a filter finds, and what is listed of each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.index import conversation_rows
from app.model.filters import ConversationFilter, Tag, parse_tag
from app.model.ids import ConversationId
from tests.builders import make_conversation, make_id
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
            await conversation.update(archived=True)
        asked = [ConversationFilter(archived=one) for one in (False, True, None)]
        assert [await store.count_conversations(one) for one in asked] == [1, 1, 2]
        assert [len((await store.list_conversations(one)).items) for one in asked] == [1, 1, 2]
        assert b'"archived":true' in await store.get_conversation(ONE)
        assert await store.verify() == []
        async with store.writer(ONE) as conversation:
            await conversation.update(archived=False)
        assert await store.count_conversations() == 2
    assert (path / "meta.json").read_bytes() == before


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


@pytest.mark.parametrize("text", ["a:b", "a:b:c", "a:b=c", "a=b:c:d", "a=b=c:d", "=:x", "k:" + "::" * 200])
async def test_a_tag_is_found_when_its_key_or_value_contains_separators(
    root: Path, open_store: StoreOpener, text: str
) -> None:
    tags = [{"a:b": "c"}, {"a=b": "c:d"}, {"": ":x"}, {"=": "x"}, {"k": "::" * 200}]
    for number, own in enumerate(tags, start=1):
        make_conversation(root, number, state={"tags": own})
    async with open_store(root) as store:
        asked = ConversationFilter(tags=(parse_tag(text),))
        found = [tags[int(json.loads(item)["id"][-1]) - 1] for item in (await store.list_conversations(asked)).items]
        assert found == [own for own in tags[::-1] if any(text in (k, f"{k}:{v}", f"{k}={v}") for k, v in own.items())]
        assert await store.count_conversations(asked) == len(found) > 0


async def test_of_how_many_conversations_the_text_is_known_is_part_of_the_state(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root)
    async with open_store(root) as store:
        states = [(await store.index.find_state(), await store.count_text())]
        await store.index.write(conversation_rows.invalidate_all)
        states.append((await store.index.find_state(), await store.count_text()))
        await store.sync()
        states.append((await store.index.find_state(), await store.count_text()))
    assert [known for _, known in states] == [(1, 1), (0, 1), (1, 1)]
    assert len({state for state, _ in states}) == 3
