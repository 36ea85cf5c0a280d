"""Commands whose settings say otherwise how files are read than those by which the index was derived."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import orjson
import pytest

from app.model.ids import ConversationId
from tests.builders import (
    held_by_another_process,
    index_path,
    index_tables,
    make_conversation,
    make_event,
    make_id,
    second_process,
    write_event,
)
from tests.cli.conftest import Command
from tests.cli.test_serve import served, wait_until_in_step
from tests.conftest import StoreOpener
from tests.store.admin.importing import snapshot

ID = make_id(1)
KEY = "a-key"
SEEN = {
    "kind": "ObservationEvent",
    "source": "environment",
    "observation": {"content": [{"type": "text", "text": "x"}]},
}
OTHERWISE = {"TIMEZONE": "Asia/Tokyo", "SEARCH_TOOLS": "true"}
WRITING = [
    ("rename", ID, "Another"),
    ("rename", make_id(3), "Another"),
    ("tag", ID, "a=b"),
    ("archive", ID),
    ("fork", ID),
    ("index", "verify", "--fix"),
]
FOLLOWING = [
    ("show", ID),
    ("tail", ID),
    ("count",),
    ("index", "sync", "--recover"),
    ("index", "rebuild"),
]
_DESCRIBE = """
from pathlib import Path
from app.files.metadata_reader import Reader
from app.store.follow.index_settings import describe_derivation
print(describe_derivation(Reader(Path("."), None)))
"""


@pytest.fixture
def derived(root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose index was derived in UTC and without tools, before its files changed; the settings are others."""
    monkeypatch.setenv("CONVSTORE_TIMEZONE", "UTC")
    for number in (1, 2):
        make_conversation(root, number)
    assert convstore("index", "sync", "--store", root).code == 0
    change(root)
    for name, value in OTHERWISE.items():
        monkeypatch.setenv(f"CONVSTORE_{name}", value)
    return root


def change(root: Path) -> None:
    write_event(root / ID, 2, make_event(2, **SEEN))
    make_conversation(root, 3)


def derived_by(root: Path) -> Any:
    return index_tables(index_path(root))["sync_state"][0][-1]


def agrees(root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether all rows are those that are derived in UTC and without tools."""
    monkeypatch.setenv("CONVSTORE_TIMEZONE", "UTC")
    monkeypatch.setenv("CONVSTORE_SEARCH_TOOLS", "false")
    assert derived_by(root).endswith("::UTC")
    assert convstore("index", "sync", "--store", root).code == 0  # opens what changed, and no other
    return convstore("index", "verify", "--store", root).out == "index and files agree\n"


@pytest.mark.parametrize("command", [*WRITING, *FOLLOWING], ids=" ".join)
def test_beside_a_server_rows_are_derived_as_it_does(
    derived: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    with held_by_another_process(derived / ".convstore" / "duty.lock"):
        assert convstore(*command, "--store", derived).code == 0
        assert agrees(derived, convstore, monkeypatch)


@pytest.mark.parametrize("command", [one for one in WRITING if make_id(3) not in one], ids=" ".join)
def test_what_compares_nothing_derives_rows_as_all_others_are(
    derived: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    assert convstore(*command, "--store", derived).code == 0
    assert agrees(derived, convstore, monkeypatch)


def test_without_a_server_a_comparison_reads_everything_as_the_settings_say(derived: Path, convstore: Command) -> None:
    before = index_tables(index_path(derived))["event"]
    assert convstore("count", "--store", derived).out == "3\n"
    assert derived_by(derived).endswith(":tools:Asia/Tokyo")
    assert not {*before} & {*index_tables(index_path(derived))["event"]}
    assert convstore("index", "verify", "--store", derived).out == "index and files agree\n"


def test_beside_a_server_nothing_is_told_to_differ(derived: Path, convstore: Command) -> None:
    with held_by_another_process(derived / ".convstore" / "duty.lock"):
        assert convstore("index", "sync", "--store", derived).code == 0
        assert convstore("index", "verify", "--store", derived).out == "index and files agree\n"
        assert "of them in full, agree with the index" in convstore("doctor", "--store", derived).out


async def test_a_new_event_has_its_time_in_the_zone_of_all_others(derived: Path, open_store: StoreOpener) -> None:
    async with open_store(derived, synced=False) as store:
        for zone in ("UTC", "Asia/Tokyo"):
            async with store.writer(ConversationId(ID)) as conversation:
                done = await conversation.append({"source": "user", "kind": "MessageEvent"})
            written = orjson.loads(await store.get_event(ConversationId(ID), done.event_id))["timestamp"]
            late = datetime.now(ZoneInfo(zone)).replace(tzinfo=None) - datetime.fromisoformat(written)
            assert abs(late) < timedelta(minutes=1)
            await store.sync()


@pytest.mark.long
def test_a_real_server_and_a_process_elsewhere_agree(
    root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        make_conversation(root, number)
    with served(root, CONVSTORE_TIMEZONE="UTC", CONVSTORE_API_KEY=KEY) as server:
        wait_until_in_step(server.url, KEY)
        for name, value in OTHERWISE.items():
            monkeypatch.setenv(f"CONVSTORE_{name}", value)
        change(root)
        for command in (*FOLLOWING, *WRITING):
            assert convstore(*command, "--store", root).code == 0
        assert agrees(root, convstore, monkeypatch)
        with httpx.Client(base_url=server.url, headers={"X-Session-API-Key": KEY}) as client:
            info = client.get(f"/api/conversations/{ID}").json()
        assert info["last_event_at"] == "2026-10-01T12:00:02Z"


@pytest.mark.long
def test_a_server_reads_everything_as_its_own_settings_say(derived: Path) -> None:
    with (
        served(derived, "--workers", 2, CONVSTORE_API_KEY=KEY) as server,
        httpx.Client(base_url=server.url, headers={"X-Session-API-Key": KEY}) as client,
    ):
        until = time.monotonic() + 60
        while client.get(f"/api/conversations/{ID}").json()["last_event_at"] != "2026-10-01T03:00:02Z":
            assert time.monotonic() < until
            time.sleep(0.05)
    assert derived_by(derived).endswith(":tools:Asia/Tokyo")


@pytest.fixture
def unknown(derived: Path) -> Iterator[Path]:
    """A store whose index is looked after by a server that derives rows in a way that nobody knows here."""
    with closing(sqlite3.connect(index_path(derived))) as db, db:
        db.execute("UPDATE sync_state SET derived_by = '0.0.0::host:XYZ/XYZ'")
    with held_by_another_process(derived / ".convstore" / "duty.lock"):
        yield derived


@pytest.mark.parametrize("command", [*WRITING, ("count",), ("index", "sync"), ("index", "rebuild")], ids=" ".join)
def test_what_would_write_rows_in_another_way_is_refused(
    unknown: Path, convstore: Command, command: tuple[str, ...]
) -> None:
    before = index_tables(index_path(unknown)), snapshot(unknown)
    ran = convstore(*command, "--store", unknown)
    assert (ran.code, "keeps this index up to date" in ran.err) == (2, True)
    assert (index_tables(index_path(unknown)), snapshot(unknown)) == before


def test_what_only_reads_is_answered_from_the_index_as_it_is(unknown: Path, convstore: Command) -> None:
    before = index_tables(index_path(unknown))
    assert convstore("count", "--no-sync", "--store", unknown).out == "2\n"
    assert convstore("show", ID, "--no-sync", "--store", unknown).code == 0
    assert "note    files        not compared with the index" in convstore("doctor", "--store", unknown).out
    assert index_tables(index_path(unknown)) == before


@pytest.mark.parametrize(
    ("host", "described"),
    [("Asia/Tokyo", "Asia/Tokyo"), (":Asia/Tokyo", "Asia/Tokyo"), ("", "UTC"), ("XYZ-3", "host:XYZ/XYZ")],
)
def test_the_zone_of_a_host_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch, host: str, described: str) -> None:
    monkeypatch.setenv("TZ", host)
    with second_process(_DESCRIBE) as other:
        assert other.hear().endswith(f"::{described}")
