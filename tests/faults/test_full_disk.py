"""A disk without any room: deleting for good and emptying the trash need no new block, and so make room.

Where this process may mount, the disk is a small tmpfs. Elsewhere these tests are not tried, and the end of the run
says so.
"""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from app import Settings
from app.errors import DiskFull
from app.files import durable
from tests.builders import make_conversation, make_id, make_message_event
from tests.conftest import serving

SEVERAL = range(1, 9)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A store on a disk of 3 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], check=True)
    try:
        root = disk / "conversations"
        root.mkdir()
        for number in SEVERAL:
            make_conversation(root, number, events=[make_message_event(0, "x" * 2000)])
        yield root
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def fill(root: Path) -> None:
    """Write until the disk has no free byte."""
    with (root.parent / f"filler-{os.urandom(4).hex()}").open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    assert os.statvfs(root).f_bavail == 0


async def delete(client: httpx.AsyncClient, number: int, query: str = "?permanent=true") -> None:
    answer = await client.delete(f"/api/conversations/{make_id(number)}{query}")
    assert (answer.status_code, answer.json()["success"]) == (200, True), answer.text


async def test_on_a_full_disk_deleting_for_good_works_over_http(small: Path) -> None:
    async with serving(Settings(store=small)) as client:
        fill(small)
        refused = await client.patch(f"/api/conversations/{make_id(1)}", json={"title": "x"})
        assert (refused.status_code, refused.json()["code"]) == (507, "disk_full")
        assert "the disk has no room (No space left on device); `convstore trash empty`" in refused.json()["detail"]
        await delete(client, 1)
        assert not (small / make_id(1)).exists()
        fill(small)
        await delete(client, 2)
        fill(small)
        body = {"ids": [make_id(3), make_id(4)], "permanent": True}
        assert (await client.post("/api/conversations/bulk/delete", json=body)).json()["done"] == 2
        for filler in small.parent.glob("filler-*"):
            filler.unlink()
        async with asyncio.timeout(30):  # the index follows as soon as it has room
            while (await client.get("/api/conversations/count")).json() != len(SEVERAL) - 4:
                await asyncio.sleep(0.05)
        assert (await client.patch(f"/api/conversations/{make_id(5)}", json={"title": "x"})).status_code == 200


@pytest.mark.parametrize("way", ["delete", "post", "command"])
async def test_on_a_full_disk_the_trash_can_be_emptied(small: Path, way: str) -> None:
    async with serving(Settings(store=small)) as client:
        for number in (1, 2):
            await delete(client, number, "")
        fill(small)
        await delete(client, 3, "")  # a move into the trash needs no block either
        if way == "command":
            command = [sys.executable, "-m", "app.cli.main", "trash", "empty", "--yes", "--store", str(small)]
            emptied = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: ASYNC221
            assert (emptied.returncode, emptied.stdout) == (0, "3 conversations removed for good\n"), emptied.stderr
        elif way == "post":
            assert len((await client.post("/api/trash/empty", json={"dry_run": True})).json()["ids"]) == 3
            assert len((await client.post("/api/trash/empty")).json()["ids"]) == 3
        else:
            assert len((await client.delete("/api/trash")).json()["ids"]) == 3
        assert (await client.get("/api/trash")).json()["total"] == 0
        assert os.statvfs(small).f_bavail > 0


async def test_on_a_full_disk_an_owner_is_still_respected(small: Path) -> None:
    lease = f"/api/conversations/{make_id(1)}/lease"
    async with serving(Settings(store=small)) as client:
        assert (await client.post(lease, json={"owner": "somebody"})).is_success
        fill(small)
        refused = await client.delete(f"/api/conversations/{make_id(1)}?permanent=true")
        assert (refused.status_code, refused.json()["code"]) == (409, "conversation_owned")
        await delete(client, 1, "?permanent=true&force=true")


def test_a_quota_is_named() -> None:
    with (
        pytest.raises(DiskFull, match="the quota of this user, group or directory is used up"),
        durable.explain_errors("a file"),
    ):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
