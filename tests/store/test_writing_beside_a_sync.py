"""Writing while a sync runs: it hides nothing that was acknowledged, whatever of the files it had read before."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.index import conversations
from app.index.engine import ReadConnection
from app.index.messages import clear_messages
from app.index.statements import Sql
from app.model.ids import ConversationId
from tests.builders import make_conversation, make_event, make_id
from tests.conftest import StoreOpener

ID = ConversationId(make_id(1))
_FORGET = Sql("DELETE FROM conversation", {})


async def test_an_event_that_is_appended_before_the_log_is_read_hides_none_of_those_before(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_behind = conversations.list_behind
    make_conversation(root, events=10)
    async with open_store(root) as store, store.writer(ID) as conversation:
        await conversation.append(make_event(10))
        async with store.index.write() as connection:
            await clear_messages(connection)
            await connection.execute_many(_FORGET, [{}])

        async def append_first(index: ReadConnection, after: int) -> list[tuple[int, str]]:
            if after == 0:
                assert (await conversation.append(make_event(11))).warning is None
            return await list_behind(index, after)

        monkeypatch.setattr(conversations, "list_behind", append_first)
        await store.sync()
        assert await store.count_events(ID) == 12
        assert await store.verify() == []
