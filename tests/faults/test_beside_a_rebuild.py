"""Reading conversations while another process puts a new index, with other keys in it, in the place of the old one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from app.model.filters import ConversationFilter
from app.model.ids import ConversationId, dashed
from app.model.page import SortOrder
from tests.builders import make_conversation, make_event, make_id, second_process
from tests.conftest import StoreOpener

pytestmark = pytest.mark.long

REBUILDS = 8

# Rebuilds the index again and again, with the first conversation and without it, so that the others' keys move.
REBUILDER = """
import asyncio, sys
from pathlib import Path
from app import Settings
from app.store.follow.rebuild import rebuild
from tests.builders import make_id

async def main():
    root, number = Path(sys.argv[1]), int(sys.argv[2])
    print("begun", flush=True)
    for _ in range(number):
        for source, target in ((root, root.parent), (root.parent, root)):
            (source / make_id(1)).rename(target / make_id(1))
            await rebuild(Settings(store=root), lambda *_: None)
    print("done", flush=True)

asyncio.run(main())
"""


async def test_no_page_and_no_count_is_of_another_conversation(root: Path, open_store: StoreOpener) -> None:
    logs = {number: [make_event(100 * number + n) for n in range(number + 2)] for number in (1, 2, 3)}
    for number, log in logs.items():
        make_conversation(root, number, events=log)
    wrong = []
    async with open_store(root) as store:
        with second_process(REBUILDER, root, REBUILDS) as other:
            assert other.hear() == "begun"
            done = asyncio.create_task(asyncio.to_thread(other.hear))
            while not done.done():
                for number in (2, 3):
                    one = ConversationId(make_id(number))
                    page = await store.list_events(one)
                    found = [orjson.loads(item)["id"] for item in page.items], await store.count_events(one)
                    if found != ([event["id"] for event in logs[number]], len(logs[number])):
                        wrong.append((number, found, page.unreadable))
            assert await done == "done"
    assert wrong == []


async def test_what_is_found_is_told_of_the_conversation_that_says_it(root: Path, open_store: StoreOpener) -> None:
    for number, words in ((1, "one other"), (2, "two other"), (3, "three wanted")):
        content = [{"type": "text", "text": words}]
        make_conversation(root, number, events=[make_event(0, llm_message={"role": "user", "content": content})])
    wanted = ConversationId(make_id(3))
    wrong: list[object] = []
    asked = ConversationFilter(q="wanted")
    async with open_store(root, search_timeout_s=20) as store:
        with second_process(REBUILDER, root, REBUILDS) as other:
            assert other.hear() == "begun"
            done = asyncio.create_task(asyncio.to_thread(other.hear))
            while not done.done():
                hits = (await store.search_messages("wanted")).items
                wrong += [hit for hit in hits if hit.conversation_id != wanted]
                page = await store.list_conversations(asked, order=SortOrder.RELEVANCE)
                wrong += [item for item in page.items if orjson.loads(item)["id"] != dashed(wanted)]
            assert await done == "done"
    assert wrong == []
