"""Stores on disks without hard links, which are written to by renames, and without file locks, which are only read."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import Settings
from app.api.access.key_files import load_keys
from app.errors import EventExists, WriteFailed
from app.exclusive_rename import Way
from app.files.durable import new_file
from app.files.trash import move_to_trash
from app.index.sqlite.backup import back_up
from app.store.admin.disk_checks import look_around
from app.store.admin.findings import Level
from tests.builders import NEW_CONVERSATION, make_conversation, make_event, make_id, names_in, write_event
from tests.conftest import StoreOpener, serving
from tests.faults import strace
from tests.store.helpers import ONE, is_rebuilt_equal, listed, log_of
from tests.test_exclusive_rename import make

WAYS = [Way.EXCLUSIVE_RENAME, Way.RENAME]


@pytest.mark.parametrize("way", WAYS)
async def test_events_are_appended_without_hard_links(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    path = make_conversation(root)
    make(way, monkeypatch)
    async with open_store(root) as store:
        async with store.writer(ONE) as conversation:
            await conversation.append(make_event(7))
            await conversation.append_batch([make_event(8), make_event(9)])
            with pytest.raises(EventExists):
                await conversation.append(make_event(9))
        assert [name for name in names_in(path / "events") if name.endswith(".tmp")] == []
        assert [event["id"] for event in log_of(path)[2:]] == [make_event(number)["id"] for number in (7, 8, 9)]
        created = await store.create(NEW_CONVERSATION)
        assert {*await listed(store)} == {ONE, created.id}
        assert await is_rebuilt_equal(store)


@pytest.mark.parametrize("way", WAYS)
async def test_a_number_that_another_program_took_is_not_taken_again(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    path = make_conversation(root)
    make(way, monkeypatch)
    async with open_store(root) as store, store.writer(ONE) as conversation:
        await conversation.append(make_event(7))
        taken = os.link

        def take(*arguments: object, **how: object) -> None:
            if not list((path / "events").glob("event-00003-*")):
                write_event(path, 3, make_event(50))
            taken(*arguments, **how)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "link", take)
        with pytest.raises(WriteFailed, match="another program appended event 3"):
            await conversation.append(make_event(8))
        await conversation.append(make_event(9))
        assert [event["id"] for event in log_of(path)[3:]] == [make_event(number)["id"] for number in (50, 9)]


@pytest.mark.parametrize("way", WAYS)
async def test_keys_exports_and_backups_are_made_without_hard_links(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    make(way, monkeypatch)
    settings = Settings(store=root)
    keys, made = load_keys(settings)
    assert (made, load_keys(settings)) == (True, (keys, False))
    assert [name for name in names_in(root / ".convstore") if name.startswith(".")] == []
    with new_file(tmp_path / "export", replace=False) as file:
        file.write(b"1")
    assert back_up(settings.index_path, tmp_path / "backup").path.exists()
    told = [one.found for one in look_around(settings, "0") if one.check == "file names"]
    assert told == [f"new files get their names by {way.value}"]


async def test_a_store_without_locks_is_read_and_not_written_to(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_conversation(root)
    move_to_trash(root, make_conversation(root, 2).name, 0)
    flock = fcntl.flock

    def refuse(fd: int, kind: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink().is_relative_to(root):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        flock(fd, kind)

    monkeypatch.setattr(fcntl, "flock", refuse)
    settings = Settings(store=root, index_url=f"sqlite:///{tmp_path / 'elsewhere.db'}")
    async with serving(settings) as client:
        assert (await client.get("/api/conversations/count")).json() == 1
        assert (await client.get(f"/api/conversations/{ONE}/events/count")).json() == 2
        before = names_in(path)
        for method, where, body in (
            ("POST", "/api/conversations", NEW_CONVERSATION),
            ("POST", f"/api/conversations/{ONE}/events", {"content": [{"text": "hello"}]}),
            ("PATCH", f"/api/conversations/{ONE}", {"title": "Changed"}),
            ("POST", f"/api/conversations/{ONE}/fork", {}),
            ("DELETE", f"/api/conversations/{ONE}", None),
            ("POST", f"/api/conversations/{make_id(2)}/restore", None),
            ("DELETE", f"/api/trash/{make_id(2)}", None),
            ("DELETE", "/api/trash", None),
        ):
            answer = await client.request(method, where, json=body)
            assert (answer.status_code, answer.json()["code"]) == (501, "locks_unsupported"), (where, answer.text)
        assert names_in(path) == before
        assert [name for name in names_in(root) if name.startswith((".new", ".import"))] == []
        assert len(names_in(root / ".trash")) == 1
        assert (await client.get("/ready")).status_code == 200
    [finding] = [one for one in look_around(settings, "0") if one.check == "locks"]
    assert finding.level is Level.PROBLEM


_APPEND = """
import asyncio, sys
from app import ConversationStore, Settings
from tests.builders import make_event

async def main():
    async with ConversationStore.open(Settings(store=sys.argv[1])) as store:
        async with store.writer(sys.argv[2]) as conversation:
            await conversation.append(make_event(7))
            await conversation.append_batch([make_event(8), make_event(9)])

asyncio.run(main())
"""


@pytest.mark.long
@pytest.mark.parametrize("calls", ["link,linkat:error=EPERM", "link,linkat:error=EOPNOTSUPP"])
def test_a_process_whose_kernel_refuses_links_appends(root: Path, tmp_path: Path, calls: str) -> None:
    if not strace.is_usable():
        pytest.skip("NOT TRIED: there is no strace that may attach to a process")
    path = make_conversation(root)
    log = tmp_path / "calls"
    command = ["strace", "-f", "-o", str(log), "-e", "trace=link,linkat,renameat2", "-e", f"inject={calls}"]
    ran = subprocess.run(
        [*command, sys.executable, "-c", _APPEND, str(root), ONE],
        cwd=Path(__file__).parents[3],
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0
    told = "\n".join(line for line in log.read_text().splitlines() if "store-id" not in line)
    assert told.count("INJECTED") == 3
    assert told.count("RENAME_NOREPLACE") == 3
    assert len(log_of(path)) == 5
