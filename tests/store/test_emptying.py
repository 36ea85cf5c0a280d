"""The trash is emptied behind the server: what is old goes, what is young stays."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from app import Settings
from app.files import trash
from tests.builders import make_conversation, make_id, names_in
from tests.conftest import serving

_DAY_US = 24 * 3600 * 1_000_000


def delete(root: Path, number: int, days_ago: float) -> str:
    now_us = time.time_ns() // 1000
    return trash.move_to_trash(root, make_conversation(root, number).name, now_us - int(days_ago * _DAY_US)).name


@pytest.mark.parametrize(("days", "kept"), [(30, 1), (7, 0), (0, 3)])
async def test_a_server_removes_for_good_what_was_deleted_long_ago(root: Path, days: float, kept: int) -> None:
    deleted = [delete(root, number, days_ago) for number, days_ago in ((1, 8), (2, 31), (3, 400))]
    make_conversation(root, 4)
    (root / ".trash" / f".copy-{make_id(4)}.1.00000000").mkdir()  # of a repair that was killed
    async with serving(Settings(store=root, trash_days=days)) as client, asyncio.timeout(10):
        while len(names_in(root / ".trash")) > kept:
            await asyncio.sleep(0.01)
        assert (await client.get("/api/trash")).json()["total"] == kept
        assert (await client.get("/api/conversations/count")).json() == 1
    assert sorted(deleted)[:kept] == names_in(root / ".trash")


async def test_what_a_killed_create_left_goes_after_a_day(root: Path) -> None:
    old, young = (f".new-{make_id(number)}-{make_id(3)}" for number in (1, 2))
    for name, age_s in ((".new-photos", 90_000), (old, 90_000), (young, 60)):
        (root / name / "events").mkdir(parents=True)
        os.utime(root / name, (time.time() - age_s, time.time() - age_s))
    async with serving(Settings(store=root)), asyncio.timeout(10):
        while (root / old).exists():
            await asyncio.sleep(0.01)
    assert (root / young / "events").exists()
    assert (root / ".new-photos" / "events").exists()


async def test_a_trash_that_is_a_link_is_told_and_harms_nothing(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / ".trash").symlink_to(root)
    make_conversation(root)
    async with serving(Settings(store=root)) as client, asyncio.timeout(10):
        while "the trash cannot be emptied" not in caplog.text:
            await asyncio.sleep(0.01)
        assert (await client.delete(f"/api/conversations/{make_id(1)}")).status_code == 500
        assert (await client.get("/api/conversations/count")).json() == 1
        assert (await client.get(f"/api/conversations/{make_id(1)}")).status_code == 200


async def test_what_cannot_be_removed_is_told_and_harms_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    delete(root, 1, 31)

    def refuse(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)
    async with serving(Settings(store=root)) as client, asyncio.timeout(10):
        while "the trash cannot be emptied" not in caplog.text:
            await asyncio.sleep(0.01)
        assert (await client.get("/ready")).status_code == 200
    assert len(names_in(root / ".trash")) == 1
