"""Clients write through several hosts, while these are killed, stopped and cut off, and PostgreSQL ends at random."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import httpx
import psycopg

from app.files import layout
from app.model.ids import event_file_name
from tests.builders import make_conversation, make_id
from tests.faults.hosts import Host, find_code
from tests.postgres import NetworkServer

CONVERSATIONS = 12
_WRITERS = 6
_PAUSES_S = (0.5, 1.5, 2.5, 6.0)
"""How long a host is stopped or cut off. A host may write for 2 s after a heartbeat, and counts as dead after 3 s."""
_REQUEST_S = 15.0
_LAST_S = 90.0
"""The seconds within which each write must succeed when all faults are over."""
_AT_ONCE = 2
"""The maximum number of faults at once. So one host always works."""
_AGAIN = frozenset({"conversation_owned", "ownership_lost"})
"""The codes of 409 after which a client tries again."""


class Storm:
    """Clients of several hosts. A client sends an event until a host acknowledges it, then the next one."""

    def __init__(self, root: Path, hosts: Sequence[Host], server: NetworkServer, url: str, seed: int) -> None:
        self.root = root
        self.hosts = hosts
        self.faults: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.acknowledged: dict[int, list[str]] = {number: [] for number in range(1, CONVERSATIONS + 1)}
        """The ids of the acknowledged events of each conversation."""
        self._dice = Random(seed)  # noqa: S311 - no secret
        self._server = server
        self._url = url
        self._free = list(hosts)
        self._deck: list[Callable[[], Awaitable[None]]] = []
        """The next faults. All kinds come equally often."""
        self._may_fault = asyncio.Semaphore(_AT_ONCE)
        self._server_turn = asyncio.Lock()
        self._over = asyncio.Event()

    async def rage(self, faults: int) -> None:
        """Let clients write, and make so many faults. Return when all is acknowledged."""
        async with asyncio.TaskGroup() as writers:
            for number in range(_WRITERS):
                writers.create_task(self._write(number))
            async with asyncio.TaskGroup() as running:
                for _ in range(faults):
                    await self._may_fault.acquire()
                    running.create_task(self._make_fault())
                    await asyncio.sleep(self._dice.uniform(0, 0.3))
            self._over.set()

    async def _make_fault(self) -> None:
        if not self._deck:
            self._deck = [self._kill, self._stop, self._end_sessions, self._restart]
            self._deck += [self._cut] if self.hosts[0].network.link else []
            self._dice.shuffle(self._deck)
        work = self._deck.pop()
        self.faults[work.__name__.removeprefix("_")] += 1
        try:
            await work()
        finally:
            self._may_fault.release()

    def _take_host(self) -> Host:
        host = self._dice.choice(self._free)
        self._free.remove(host)
        return host

    async def _kill(self) -> None:
        host = self._take_host()
        await host.end(signal.SIGKILL)
        await asyncio.sleep(self._dice.choice((0, *_PAUSES_S[:-1])))
        async with asyncio.timeout(_LAST_S):
            while not await host.try_start():  # as a supervisor does it
                pass
        self._free.append(host)

    async def _stop(self) -> None:
        host = self._take_host()
        host.send(signal.SIGSTOP)
        await asyncio.sleep(self._dice.choice(_PAUSES_S))
        host.send(signal.SIGCONT)
        self._free.append(host)

    async def _cut(self) -> None:
        host = self._take_host()
        host.network.cut()
        await asyncio.sleep(self._dice.choice(_PAUSES_S))
        host.network.heal()
        self._free.append(host)

    async def _restart(self) -> None:
        async with self._server_turn:
            await asyncio.to_thread(self._server.stop)
            await asyncio.sleep(self._dice.choice((0, *_PAUSES_S[:2])))
            await asyncio.to_thread(self._server.start)

    async def _end_sessions(self) -> None:
        """End some of the sessions that hosts have with the server."""
        async with self._server_turn:
            await asyncio.to_thread(self._end_some, self._dice.random())

    def _end_some(self, share: float) -> None:
        with suppress(psycopg.Error), psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'convstore' AND random() < %s",
                (share,),
            )

    async def _write(self, writer: int) -> None:
        dice = Random(writer)  # noqa: S311 - no secret
        number = 0
        while not self._over.is_set():
            number += 1
            conversation = dice.randrange(1, CONVERSATIONS + 1)
            event_id = str(UUID(make_id(writer << 32 | number)))
            await self._send(conversation, event_id, dice)
            self.acknowledged[conversation].append(event_id)

    async def _send(self, conversation: int, event_id: str, dice: Random) -> None:
        """Send an event to one host after the other, until it is acknowledged."""
        path = f"/api/conversations/{make_id(conversation)}/events/batch"
        content = [{"type": "text", "text": event_id}]
        event = {
            "id": event_id,
            "source": "user",
            "kind": "MessageEvent",
            "llm_message": {"role": "user", "content": content},
        }
        unclear, last_s = False, 0.0
        before: list[str] = []
        while True:
            host = dice.choice(self.hosts)
            try:
                answer = await host.client.post(path, json={"events": [event]}, timeout=_REQUEST_S)
            except httpx.TransportError as error:
                unclear |= not isinstance(error, httpx.ConnectError)
                told = type(error).__name__
            else:
                code = find_code(answer)
                told = f"{answer.status_code} {code}"
                if answer.is_success or (code == "event_exists" and unclear):
                    self.answers[told] += 1
                    return
                assert answer.status_code in {503, 504} or code in _AGAIN, f"{host.name}: {answer.text} after {before}"
                unclear |= answer.status_code == 504
            self.answers[told] += 1
            before.append(f"{host.name}: {told}")
            if self._over.is_set():
                last_s = last_s or time.monotonic() + _LAST_S
                assert time.monotonic() < last_s, f"{event_id} was not acknowledged: {told}"
            await asyncio.sleep(dice.uniform(0, 0.2))


def make_store(root: Path) -> None:
    """Write the conversations."""
    for number in range(1, CONVERSATIONS + 1):
        make_conversation(root, number)


def check_files(storm: Storm) -> None:
    """Check that each acknowledged event stands once, and behind an event that is there.

    Raises:
        AssertionError: one does not.
    """
    for number, acknowledged in storm.acknowledged.items():
        path = storm.root / make_id(number)
        with layout.open_directory(path / layout.EVENTS) as events_fd:
            names = layout.list_event_names(events_fd)
        there = Counter(name.event_id for name in names)
        assert max(there.values()) == 1, f"an event twice in {path}"
        assert set(acknowledged) <= set(there), f"acknowledged, and lost in {path}: {set(acknowledged) - set(there)}"
        assert len(names) == len(acknowledged) + 2, f"events that nobody sent in {path}"
        known: set[str | None] = {None, "__root__"}
        for name in names:
            event = json.loads((path / layout.EVENTS / event_file_name(name)).read_bytes())
            assert event.get("parent_id") in known, f"{name} of {path} follows an event that is not there"
            known.add(name.event_id)


def check_owners(hosts: Sequence[Host]) -> int:
    """Check that each generation of a conversation had one owner. Return the number of generations.

    Raises:
        AssertionError: one had two.
    """
    owners: dict[tuple[str, int], str] = {}
    for host in hosts:
        for line in host.claims.read_text().splitlines():
            claim: dict[str, Any] = json.loads(line)
            owner = owners.setdefault((claim["conversation"], claim["generation"]), claim["owner"])
            assert owner == claim["owner"], f"{claim}, and {owner}"
    return len(owners)


async def check_answers(storm: Storm) -> None:
    """Check that each host shows the events as the files have them.

    Raises:
        AssertionError: one does not.
    """
    for number in storm.acknowledged:
        with layout.open_directory(storm.root / make_id(number) / layout.EVENTS) as events_fd:
            names = [name.event_id for name in layout.list_event_names(events_fd)]
        for host in storm.hosts:
            assert await host.list_ids(number) == names, f"{host.name} shows other events of {number}"
