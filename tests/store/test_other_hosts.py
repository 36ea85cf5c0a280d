"""What processes of several hosts tell each other about conversations."""

from __future__ import annotations

import asyncio
import time

from app.index.hosts import COMMITTED, FoundHost, Heard
from app.model.ids import ConversationId
from app.store.other_hosts import OtherHosts
from tests.builders import make_id

ONE = ConversationId(make_id(1))


class Wire:
    """Delivers each message to all, as an index does."""

    def __init__(self) -> None:
        self.dead = False
        self.lost = 0
        self.heard: list[Heard] = []

    def join(self, instance: str, boot: str) -> bool:
        raise NotImplementedError

    def find(self, instance: str) -> FoundHost | None:
        raise NotImplementedError

    def require_alive(self) -> None:
        raise NotImplementedError

    def send(self, message: str) -> None:
        if self.lost:
            self.lost -= 1
            return
        for heard in self.heard:
            heard(message)

    def listen(self, heard: Heard) -> None:
        self.heard.append(heard)


async def test_an_owner_is_asked_again_until_it_releases_a_conversation() -> None:
    wire, wanted = Wire(), list[str]()
    asker, owner, third = (OtherHosts(wire, lambda _: None) for _ in range(3))

    def release(conversation_id: ConversationId) -> None:
        wanted.append(conversation_id)
        owner.tell_free(conversation_id)

    asker.listen("asker", lambda _: wanted.append("asker"))
    third.listen("third", lambda _: wanted.append("third"))
    owner.listen("owner", release)
    wire.lost = 1
    await asyncio.wait_for(asker.ask(ONE, "owner", time.monotonic() + 20), 20)
    assert wanted == [ONE]
    await asker.ask(ONE, "nobody", time.monotonic() + 0.01)


async def test_writes_are_told_and_what_is_no_message_is_ignored() -> None:
    wire, written = Wire(), list[str]()
    one, other = OtherHosts(wire, lambda _: None), OtherHosts(wire, written.append)
    for each in (one, other):
        each.listen("same", lambda _: None)
    one.tell_written(ONE)
    for message in (COMMITTED, "no json", "[1]", '["want"]', '["want", "a", "b", "c"]'):
        wire.send(message)
    assert written == [ONE, "*"]
