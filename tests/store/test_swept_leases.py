"""What the sweep makes of the leases of other servers."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.builders import make_conversation, opened_files
from tests.conftest import StoreOpener
from tests.store.follow.test_watcher import LEASE, OLD, OLD_EVENTS, ONE, listed, replace, swept, today


def lease(directory: Path, *, expires_in_s: float, owner: str = "another-server") -> None:
    body = {"owner_instance_id": owner, "generation": 2, "expires_at": time.time() + expires_in_s}
    replace(directory / LEASE, body | {"owner_host": "elsewhere", "owner_pid": 1})


def revision(root: Path) -> int:
    with closing(sqlite3.connect(root / ".convstore" / "index.db")) as database:
        return int(database.execute("SELECT revision FROM revision").fetchone()[0])


@pytest.mark.parametrize("times", [today(), OLD])
async def test_an_owner_is_listed_and_a_renewal_reads_nothing_again(
    root: Path, open_store: StoreOpener, times: dict[str, str]
) -> None:
    directory = make_conversation(root, 1, meta=times, events=OLD_EVENTS)
    async with open_store(root) as store:
        looking = swept(store)
        await looking.walk_all()
        assert (await listed(store))[ONE]["owner"] is None
        lease(directory, expires_in_s=45)
        await looking.walk_all(full=False)
        assert (await listed(store))[ONE]["owner"] == "another-server"
        noticed = revision(root)

        lease(directory, expires_in_s=60)
        with opened_files() as opened:
            assert await looking.tick() == 0
        assert [path for path in opened if path.endswith(("meta.json", "base_state.json"))] == []
        assert revision(root) == noticed

        lease(directory, expires_in_s=-1)
        await looking.tick()
        assert (await listed(store))[ONE]["owner"] is None
        assert revision(root) == noticed + 1


async def test_an_owner_that_died_is_gone_when_its_lease_ends(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, 1, meta=today())
    async with open_store(root) as store:
        looking = swept(store)
        lease(directory, expires_in_s=1)
        await looking.tick()
        assert (await listed(store))[ONE]["owner"] == "another-server"
        await asyncio.sleep(1.1)
        with opened_files() as opened:
            await looking.tick()
        assert (await listed(store))[ONE]["owner"] is None
        assert [path for path in opened if path.endswith(".json")] == []


async def test_an_unreadable_lease_is_nobodys(root: Path, open_store: StoreOpener) -> None:
    directory = make_conversation(root, 1, meta=today())
    async with open_store(root) as store:
        looking = swept(store)
        (directory / LEASE).write_text('{"owner_inst')
        await looking.tick()
        assert (await listed(store))[ONE]["owner"] is None
