"""Three hosts are killed, stopped and cut off, and PostgreSQL ends, at random; `make hosts` does it 1,000 times."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from app import ConversationStore, Settings
from tests.faults.host_storm import Storm, check_answers, check_files, check_owners, make_store
from tests.faults.hosts import SHORT, Host, free_port, started
from tests.faults.networks import networks
from tests.postgres import network_server

pytestmark = [pytest.mark.long, pytest.mark.postgres]

FAULTS = int(os.environ.get("CONVSTORE_TEST_HOSTS", "30"))
_NAMES = ("one", "two", "three")
_IN_STEP_S = 120


async def test_hosts_keep_what_they_acknowledged_through_random_faults(tmp_path: Path) -> None:
    root = tmp_path / "conversations"
    make_store(root)
    with networks(len(_NAMES)) as places:
        addresses = sorted({place.database for place in places} | {"127.0.0.1"})
        with network_server(addresses, free_port()) as server:
            hosts = [
                Host(name, root, server.url_at(place.database), "hosts", SHORT, place)
                for name, place in zip(_NAMES, places, strict=True)
            ]
            async with started(hosts):
                url = server.url_at("127.0.0.1")
                storm = Storm(root, hosts, server, url, seed=FAULTS)
                began = time.monotonic()
                await storm.rage(FAULTS)
                print(f"{dict(storm.faults)} in {time.monotonic() - began:.0f} s; {dict(storm.answers)}")
                check_files(storm)
                print(f"{check_owners(hosts)} generations, {sum(map(len, storm.acknowledged.values()))} events")
                await check_answers(storm)
                await _wait_until_verified(root, url)


async def _wait_until_verified(root: Path, url: str) -> None:
    """Wait until the hosts have brought the index into step with the files."""
    settings = Settings(store=root, index_url=url, index_schema="hosts", host_name="looks")
    async with ConversationStore.open(settings) as store, asyncio.timeout(_IN_STEP_S):
        while differences := await store.verify():
            print(differences[:3])
            await asyncio.sleep(0.2)
