"""Exports that are made as files: a length, an ETag and ranges; two workers, a kill, a full disk, expiry, keys."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import signal
import time
from io import BytesIO
from pathlib import Path
from random import Random
from threading import Event
from typing import Any
from zipfile import ZipFile

import httpx
import pytest

from app import Settings
from app.files import durable
from tests.builders import make_conversation, make_id, make_message_event
from tests.cli.test_serve import served, wait_until_in_step
from tests.conftest import serving

EXPORTS = "/api/exports"
KEY = "a-key-for-exports"
BOTH = {"ids": [make_id(1), make_id(2)]}
_LONG_S = 60


@pytest.fixture
def two(root: Path) -> Path:
    """A store with two conversations."""
    for number in (1, 2):
        make_conversation(root, number)
    return root


async def make(client: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    """Make an export, wait until it has ended, and return its state."""
    answer = await client.post(EXPORTS, json=asked or BOTH)
    assert answer.status_code == 202, answer.text
    return await ended(client, answer.json()["id"])


async def ended(client: httpx.AsyncClient, export_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + _LONG_S
    while True:
        [one] = [one for one in (await client.get(EXPORTS)).json()["items"] if one["id"] == export_id]
        if one["phase"] != "making":
            return dict(one)
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_an_export_is_made_as_a_file_and_downloaded_in_parts(two: Path) -> None:
    async with serving(Settings(store=two)) as client:
        begun = await client.post(EXPORTS, json=BOTH)
        made = await ended(client, begun.json()["id"])
        address = begun.headers["location"]
        whole = await client.get(address)
        first = await client.get(address, headers={"Range": "bytes=0-99"})
        tag = first.headers["etag"]
        rest = await client.get(address, headers={"Range": "bytes=100-", "If-Range": tag})
        changed = await client.get(address, headers={"Range": "bytes=100-", "If-Range": '"another"'})
        beyond = await client.get(address, headers={"Range": f"bytes={made['size_bytes']}-"})
        head = await client.head(address)
        streamed = await client.post("/api/conversations/bulk/export", json=BOTH)
    assert (made["phase"], made["conversations"], made["format"], made["left_out"]) == ("done", 2, "zip", [])
    assert [one.status_code for one in (begun, whole, first, rest, changed, beyond, head)] == [
        202, 200, 206, 206, 200, 416, 200,
    ]  # fmt: skip
    assert whole.content == first.content + rest.content == changed.content == streamed.content
    assert {int(one.headers["content-length"]) for one in (whole, head)} == {made["size_bytes"], len(whole.content)}
    assert head.headers["etag"] == tag
    assert whole.headers["content-disposition"] == 'attachment; filename="conversations.zip"'
    assert whole.headers["content-type"] == "application/zip"
    assert rest.headers["content-range"] == f"bytes 100-{made['size_bytes'] - 1}/{made['size_bytes']}"


async def test_an_export_takes_filters_and_formats_and_masks_secrets(two: Path) -> None:
    make_conversation(two, 3, state={"agent": {"kind": "Agent", "llm": {"model": "m", "api_key": "planted"}}})
    async with serving(Settings(store=two)) as client:
        made = await make(client, filter={}, all=True, format="jsonl")
        text = (await client.get(f"{EXPORTS}/{made['id']}")).text
        refused = await client.post(EXPORTS, json={"filter": {}})
        unknown = await client.post(EXPORTS, json={"ids": [make_id(9)]})
    assert (made["conversations"], "planted" in text, text.count('{"convstore":"conversation"')) == (3, False, 3)
    assert (refused.status_code, unknown.json()["code"]) == (422, "conversation_not_found")


async def test_an_export_that_is_being_made_says_so_until_it_is_removed(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, may_go_on = durable.write_all, Event()

    def wait(descriptor: int, data: bytes) -> None:
        if is_archive(descriptor):
            assert may_go_on.wait(_LONG_S)
        write(descriptor, data)

    monkeypatch.setattr(durable, "write_all", wait)
    async with serving(Settings(store=two)) as client:
        address = (await client.post(EXPORTS, json=BOTH)).headers["location"]
        early = await client.get(address)
        [listed] = (await client.get(EXPORTS)).json()["items"]
        removed = await client.delete(address)
        gone = await client.get(address)
        may_go_on.set()
    assert (early.status_code, early.json()["code"], early.headers["retry-after"]) == (503, "export_running", "1")
    assert (listed["phase"], listed["expires_at"]) == ("making", None)
    assert (removed.status_code, gone.status_code, gone.json()["code"]) == (204, 404, "export_not_found")
    assert list((two / ".convstore/exports").iterdir()) == []


@pytest.mark.parametrize("given", ["0" * 32, "..", "%2e%2e%2fapi-key", "x"])
async def test_an_id_that_no_export_has_is_not_found(two: Path, given: str) -> None:
    async with serving(Settings(store=two)) as client:
        answers = [await client.request(method, f"{EXPORTS}/{given}") for method in ("GET", "DELETE")]
    assert {answer.status_code for answer in answers} <= {404, 405}


async def test_a_full_disk_ends_an_export_and_leaves_no_file(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = durable.write_all

    def fail(descriptor: int, data: bytes) -> None:
        if is_archive(descriptor):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(descriptor, data)

    monkeypatch.setattr(durable, "write_all", fail)
    async with serving(Settings(store=two)) as client:
        made = await make(client)
        answer = await client.get(f"{EXPORTS}/{made['id']}")
    assert (made["phase"], made["code"]) == ("failed", "disk_full")
    assert (answer.status_code, answer.json()["code"]) == (410, "export_failed")
    assert "the disk has no room" in answer.json()["detail"]
    assert [path.suffix for path in (two / ".convstore/exports").iterdir()] == [".json"]


async def test_an_export_leaves_room_on_the_disk_for_everything_else(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Disk:
        f_frsize, f_blocks, f_bavail = 1 << 20, 1 << 20, 255

    async with serving(Settings(store=two)) as client:
        monkeypatch.setattr("app.store.admin.export_files.os.statvfs", lambda _: Disk)
        answer = await client.post(EXPORTS, json=BOTH)
    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")


async def test_exports_together_have_a_limit(two: Path) -> None:
    async with serving(Settings(store=two, export_max_bytes=2000)) as client:
        made = await make(client)
        answer = await client.post(EXPORTS, json=BOTH)
        assert (made["phase"], answer.status_code, answer.json()["code"]) == ("done", 507, "exports_full")
        await client.delete(f"{EXPORTS}/{made['id']}")
        assert (await make(client))["phase"] == "done"


async def test_a_large_export_ends_at_the_limit(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.admin.export_files._CHECK_BYTES", 1)
    async with serving(Settings(store=two, export_max_bytes=1500)) as client:
        made = await make(client)
    assert (made["phase"], made["code"]) == ("failed", "exports_full")
    assert "CONVSTORE_EXPORT_MAX_BYTES" in made["error"]


async def test_an_export_expires(two: Path) -> None:
    async with serving(Settings(store=two, export_hours=1e-6)) as client:
        address = (await client.post(EXPORTS, json=BOTH)).headers["location"]
        deadline = time.monotonic() + _LONG_S
        while (await client.get(EXPORTS)).json()["items"]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert (await client.get(address)).status_code == 404
        [first] = (two / ".convstore/exports").glob("*.data")
        await client.post(EXPORTS, json=BOTH)
        assert not first.exists()


async def test_an_export_needs_a_key_and_its_audit_lines_name_it(two: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "audit")
    settings = Settings.model_validate({"store": two, "read_keys": "read-key-0123456789"})
    async with serving(settings, "full-key-0123456789") as client:
        reader = {"X-Session-API-Key": "read-key-0123456789"}
        begun = await client.post(EXPORTS, json=BOTH, headers=reader)
        address, made = begun.headers["location"], await ended(client, begun.json()["id"])
        assert (await client.get(address, headers=reader)).status_code == 200
        await client.get(f"{EXPORTS}/{'0' * 32}")
        assert (await client.delete(address, headers=reader)).json()["code"] == "read_only_key"
        for method, path in (("POST", EXPORTS), ("GET", EXPORTS), ("GET", address), ("DELETE", address)):
            answer = await client.request(method, path, json=BOTH, headers={"X-Session-API-Key": "wrong"})
            assert answer.status_code == 401
        assert (await client.delete(address)).status_code == 204
    lines = [vars(record)["fields"] for record in caplog.records if record.name == "audit"]
    told = [(one["audit"], one["method"], one["status"], one.get("export")) for one in lines if one["status"] != 401]
    assert told == [
        ("export", "POST", 202, made["id"]),
        ("export", "GET", 200, made["id"]),
        ("refused key", "DELETE", 403, made["id"]),
        ("write", "DELETE", 204, made["id"]),
    ]
    assert len(lines[0]["conversations"]) == 2


async def test_an_erasure_removes_the_exports_that_may_have_the_texts(two: Path) -> None:
    async with serving(Settings(store=two)) as client:
        made = await make(client)
        assert (await client.post("/api/conversations/bulk/erase", json={"ids": [make_id(1)]})).status_code == 200
        assert (await client.get(f"{EXPORTS}/{made['id']}")).status_code == 404
    assert list((two / ".convstore/exports").iterdir()) == []


def is_archive(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".data"


def wait_for_file(client: httpx.Client, address: str) -> httpx.Response:
    deadline = time.monotonic() + _LONG_S
    while (answer := client.get(address)).status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return answer


@pytest.mark.long
def test_each_of_several_workers_serves_parts_of_one_export(two: Path) -> None:
    with served(two, "--workers", "2", CONVSTORE_API_KEY=KEY) as server:
        wait_until_in_step(server.url, KEY)

        def ask(method: str, path: str, **more: Any) -> httpx.Response:  # each on a connection of its own
            headers = {"X-Session-API-Key": KEY} | more.pop("headers", {})
            return httpx.request(method, f"{server.url}{path}", headers=headers, timeout=_LONG_S, **more)

        address = ask("POST", EXPORTS, json=BOTH).headers["location"]
        with httpx.Client(base_url=server.url, headers={"X-Session-API-Key": KEY}) as client:
            whole = wait_for_file(client, address).content
        parts = [ask("GET", address, headers={"Range": f"bytes={at}-{at + 99}"}) for at in range(0, len(whole), 100)]
    assert {part.status_code for part in parts} == {206}
    assert b"".join(part.content for part in parts) == whole
    assert sum("/events/event-" in name for name in ZipFile(BytesIO(whole)).namelist()) == 4


@pytest.fixture
def large(root: Path) -> Path:
    """A store whose export takes a while."""
    text = Random(1).randbytes(1 << 20).hex()  # noqa: S311
    make_conversation(root, 1, events=[make_message_event(number, text) for number in range(30)])
    return root


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_export_that_a_server_did_not_finish_has_failed(large: Path, how: signal.Signals) -> None:
    headers = {"X-Session-API-Key": KEY}
    with served(large, CONVSTORE_API_KEY=KEY) as server:
        wait_until_in_step(server.url, KEY)
        begun = httpx.post(f"{server.url}{EXPORTS}", json={"ids": [make_id(1)]}, headers=headers, timeout=_LONG_S)
        server.process.send_signal(how)
        server.process.wait(_LONG_S)
    exports = large / ".convstore/exports"
    assert len(list(exports.glob("*.data"))) == (how == signal.SIGKILL)
    with (
        served(large, CONVSTORE_API_KEY=KEY) as server,
        httpx.Client(base_url=server.url, headers=headers, timeout=_LONG_S) as client,
    ):
        answer = client.get(begun.headers["location"])
        assert (answer.status_code, answer.json()["code"]) == (410, "export_failed")
        assert re.search("the server ended .*request it again", answer.json()["detail"])
        again = client.post(EXPORTS, json={"ids": [make_id(1)]})
        assert list(exports.glob("*.data")) == [exports / f"{again.json()['id']}.data"]
        assert wait_for_file(client, again.headers["location"]).status_code == 200
