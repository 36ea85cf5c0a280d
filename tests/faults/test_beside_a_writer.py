"""Reading a conversation that another process is writing to: what is read is of one moment."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from app.files import layout, lease
from app.files.archive.export_reader import read_files
from app.model.archive_format import ArchiveFile
from app.model.event import gap_rows
from tests.builders import appending, make_conversation, make_event, make_id, make_state, second_process, write_event
from tests.conftest import StoreOpener
from tests.store.helpers import ONE, append_without_head

_LONG = 2000
"""Events of a log whose names take several looks of the system to list, and disks list them in no order."""

# Appends event after event, as agent-server does: a temporary file, which is then renamed.
APPEND = """
import os, sys
from pathlib import Path
from tests.builders import appending, make_event, make_id

events, seq = Path(sys.argv[1]), int(sys.argv[2])
while True:
    event_id = make_event(seq)["id"]
    temporary = events / f".event-{seq}.tmp"
    temporary.write_text("{}")
    temporary.rename(events / f"event-{seq:05d}-{event_id}.json")
    if seq == int(sys.argv[2]):
        print("begun", flush=True)
    seq += 1
"""


def test_a_listing_has_no_event_without_those_before_it(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=0)
    for number in range(_LONG):
        (path / "events" / f"event-{number:05d}-{make_event(number)['id']}.json").touch()
    looks, gaps = 0, []
    with second_process(APPEND, path / "events", _LONG) as other, layout.open_directory(path / "events") as fd:
        assert other.hear() == "begun"
        until = time.monotonic() + 1
        while looks < 2 or time.monotonic() < until:
            looks += 1
            gaps += gap_rows(layout.list_event_names(fd))
    assert gaps == []


def test_a_gap_that_there_is_is_listed(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=2)
    write_event(path, 5)
    with layout.open_directory(path / "events") as fd:
        assert [name.seq for name in layout.list_event_names(fd)] == [0, 1, 5]


def exported(root: Path) -> tuple[str | None, str]:
    """Return the HEAD and the last event that an export has."""
    files = {one.name: one.raw for one in read_files(root, make_id(1)) if isinstance(one, ArchiveFile)}
    last = max(name for name in files if name.startswith("events/"))
    return json.loads(files["base_state.json"])["leaf_event_id"], json.loads(files[last])["id"]


@pytest.mark.long
def test_the_head_of_an_export_beside_a_writer_is_its_last_event(root: Path) -> None:
    make_conversation(root, state={"leaf_event_id": make_event(1)["id"]})
    found: set[tuple[str | None, str]] = set()
    with appending(root, slow_head_s=0.02):
        until = time.monotonic() + 1
        while len(found) < 2 or time.monotonic() < until:
            found.add(exported(root))
    assert [(head, last) for head, last in found if head != last] == []


def test_an_export_waits_for_the_head_that_a_program_without_a_lease_writes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_conversation(root, state={"leaf_event_id": make_event(1)["id"]})
    append_without_head(path)

    def write_head(_seconds: float) -> None:
        state = make_state(path.name, leaf_event_id=make_event(7)["id"])
        (path / "base_state.json").write_text(json.dumps(state))

    monkeypatch.setattr("app.files.archive.export_reader.time.sleep", write_head)
    assert exported(root) == (make_event(7)["id"], make_event(7)["id"])


@pytest.mark.parametrize("crashed", [True, False])
def test_the_head_of_an_export_is_where_the_next_opening_puts_it(root: Path, *, crashed: bool) -> None:
    path = make_conversation(root, state={"leaf_event_id": make_event(1)["id"]})
    append_without_head(path)
    claimed = lease.claim(root, path.name, "one that died", boot="another boot", ttl_s=-1)
    if not crashed:
        lease.release(root, path.name, claimed.lease)
    assert exported(root) == (make_event(7 if crashed else 1)["id"], make_event(7)["id"])


@pytest.mark.parametrize(("looks", "seen"), [(2, [0, 1, 2, 3]), (3, [0, 1, 3])])
async def test_an_event_that_the_system_refuses_for_a_moment_is_given_later(
    root: Path, open_store: StoreOpener, monkeypatch: pytest.MonkeyPatch, looks: int, seen: list[int]
) -> None:
    make_conversation(root, events=4)
    real = os.open
    refused: list[str | Path] = []

    def refuse(path: str | Path, *arguments: int, **options: int) -> int:
        if f"event-00002-{make_event(2)['id']}" in str(path) and len(refused) < looks:
            refused.append(path)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, *arguments, **options)

    given: list[int] = []
    async with open_store(root) as store, aclosing(store.follow(ONE)) as batches:
        monkeypatch.setattr("app.store.read.followers._REFUSED_MOST", 2)
        monkeypatch.setattr(os, "open", refuse)
        async for batch in batches:
            given += [event.name.seq for event in batch]
            if 3 in given:
                break
    assert (given, len(refused)) == (seen, looks)


# Appends an event whenever it gets a line, and tells how many there are.
ASKED = """
import json, sys
from pathlib import Path
from tests.builders import appending, make_event, make_id, write_event

path, seq = Path(sys.argv[1]) / make_id(1), int(sys.argv[2])
while sys.stdin.readline():
    (path / "a.tmp").write_text(json.dumps(make_event(seq)))
    (path / "a.tmp").rename(path / "events" / f"event-{seq:05d}-{make_event(seq)['id']}.json")
    seq += 1
    print(seq, flush=True)
"""


async def test_who_asks_after_an_append_gets_it_also_while_others_ask_all_the_time(
    root: Path, open_store: StoreOpener
) -> None:
    make_conversation(root, events=50)
    late = []
    async with open_store(root) as store, asyncio.TaskGroup() as tasks:

        async def ask() -> None:
            while True:
                await store.get_conversation(ONE)
                await asyncio.sleep(0)  # an answer from memory does not wait for anything, so others would never run

        asking = [tasks.create_task(ask()) for _ in range(3)]
        with second_process(ASKED, root, 50) as other:
            for _ in range(50):
                other.say()
                number = int(await asyncio.to_thread(other.hear))
                found = await store.count_events(ONE)
                late += [(number, found)] if found < number else []
        for task in asking:
            task.cancel()
    assert late == []
