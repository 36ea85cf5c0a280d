"""A host beats until it ends; one that was silent for too long is dead, and may not write under its name."""

from __future__ import annotations

import asyncio
import time

import pytest

from app import Settings
from app.errors import HostSilent
from app.index.engine import Index
from app.index.hosts import FoundHost
from app.index.opening import make_index
from app.index.postgres import own_host
from app.index.postgres.own_host import PostgresHosts, Times

pytestmark = [pytest.mark.long, pytest.mark.postgres]


def hosts_of(index: Index) -> PostgresHosts:
    assert isinstance(index.hosts, PostgresHosts)
    return index.hosts


async def test_a_host_lives_while_it_beats_and_is_dead_after_a_silence(
    index: Index, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_host, "TIMES", Times(0.1, 2, 3))
    other = make_index(settings, readers=1)
    try:
        hosts = hosts_of(other)
        assert hosts_of(index).find("one") is None
        assert hosts.join("one", "a-boot")
        monkeypatch.setattr(hosts_of(index), "_times", own_host.TIMES)
        for _ in range(10):
            hosts.require_alive()
            assert hosts_of(index).find("one") == FoundHost("a-boot", alive=True)
            await asyncio.sleep(0.1)
        monkeypatch.setattr(hosts, "_beat_once", lambda _: None)
        while (found := hosts_of(index).find("one")) is not None and found.alive:
            await asyncio.sleep(0.02)
        with pytest.raises(HostSilent):
            hosts.require_alive()
        assert not hosts.join("one", "a-boot")
        assert hosts.join("one.again-1", "a-boot")
        hosts.require_alive()
    finally:
        await other.close()


async def test_a_host_that_another_declared_dead_learns_it(
    index: Index, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_host, "TIMES", Times(0.4, 20, 30))
    other = make_index(settings, readers=1)
    try:
        hosts = hosts_of(other)
        assert hosts.join("one", "a-boot")
        monkeypatch.setattr(hosts_of(index), "_times", Times(1, 1, 0))
        assert hosts_of(index).find("one") == FoundHost("a-boot", alive=False)
        until = time.monotonic() + 20
        while not hosts.dead and time.monotonic() < until:
            await asyncio.sleep(0.02)
        with pytest.raises(HostSilent):
            hosts.require_alive()
    finally:
        await other.close()
