"""Opening for writing at scale: one build however many ask, none waits for another's, and nothing is kept.

A small part of `make openings`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from app import ConversationStore
from app.errors import ConversationNotFound
from app.files.open_conversation import OpenConversation
from app.model.event import KnownEnds
from app.model.ids import ConversationId
from tests.builders import make_conversation, make_event, make_id
from tests.conftest import StoreOpener

pytestmark = pytest.mark.long

IDS = int(os.environ.get("CONVSTORE_TEST_IDS", "1000"))
_AT_ONCE = 200


AGENT = {"kind": "Agent", "agent_context": {"skills": [{"name": "a skill", "content": "x" * 260_000}]}}


def one(number: int) -> ConversationId:
    return ConversationId(make_id(number))


async def append(store: ConversationStore, number: int, event: int) -> int:
    async with store.writer(one(number)) as conversation:
        return (await conversation.append(make_event(event))).seq


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect which conversations are built."""
    built: list[str] = []
    real = OpenConversation.load

    def load(self: OpenConversation, *, after_crash: bool, known: KnownEnds | None = None) -> str | None:
        built.append(self.id)
        return real(self, after_crash=after_crash, known=known)

    monkeypatch.setattr(OpenConversation, "load", load)
    return built


async def test_a_thousand_first_accesses_build_once(root: Path, open_store: StoreOpener, loads: list[str]) -> None:
    make_conversation(root)

    async def access(store: ConversationStore) -> object:
        async with store.writer(one(1)) as conversation:
            return conversation

    async with open_store(root) as store:
        opened = await asyncio.gather(*(access(store) for _ in range(1000)))
        assert len(set(map(id, opened))) == 1
    assert loads == [one(1)]


async def test_nothing_is_kept_of_what_is_not_open(root: Path, open_store: StoreOpener) -> None:
    for number in range(1, 31):
        make_conversation(root, number, events=0)
    async with open_store(root, open_conversations=5) as store:

        async def access(number: int) -> None:
            try:
                await append(store, number % IDS + 1, number)
            except ConversationNotFound:
                assert number % IDS >= 30

        await append(store, 1, 7_000_000)
        tasks = len(asyncio.all_tasks())
        for begin in range(0, IDS, _AT_ONCE):
            await asyncio.gather(*map(access, range(begin, begin + _AT_ONCE)))
        assert len(store._writers._open) <= 5
        assert store._freshness._running == {}
        assert len(asyncio.all_tasks()) == tasks


async def test_eight_writers_on_large_states_parse_and_dump_none(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 9):
        make_conversation(root, number, events=0, state={"agent": AGENT})
    large: list[int] = []

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(value: Any, *more: Any, **named: Any) -> Any:
            result = real(value, *more, **named)
            raw = value if isinstance(value, (bytes, str)) else result
            if len(raw) > 100_000:
                large.append(len(raw))
            return result

        return call

    async with open_store(root) as store:
        for number in range(1, 9):
            await append(store, number, 1)
        monkeypatch.setattr(orjson, "loads", counting(orjson.loads))
        monkeypatch.setattr(orjson, "dumps", counting(orjson.dumps))
        await asyncio.gather(*(append(store, number, event) for number in range(1, 9) for event in range(2, 8)))
        assert large == []
        async with store.writer(one(1)) as conversation:
            await conversation.update_state(agent=AGENT)
        assert large  # which shows that it would be seen
