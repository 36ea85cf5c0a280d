"""What an export takes of a conversation's directory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from app.files import layout
from app.files.archive.export_reader import read_files
from app.model.archive_format import ArchiveFile, LeftOutFile
from tests.builders import make_conversation, make_event, make_id, write_event


def names(root: Path, *, with_secrets: bool = False) -> list[str]:
    found = read_files(root, make_id(1), with_secrets=with_secrets)
    return [one.name for one in found if isinstance(one, ArchiveFile)]


def left_out(root: Path) -> list[LeftOutFile]:
    return [one for one in read_files(root, make_id(1)) if isinstance(one, LeftOutFile)]


def meta_of(root: Path, *, as_listed: bool = True) -> bytes:
    return next(one.raw for one in read_files(root, make_id(1), as_listed=as_listed) if isinstance(one, ArchiveFile))


def test_meta_json_has_the_updated_at_that_lists_show(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=[make_event(0, timestamp="2026-10-02T08:00:00+00:00")])
    before = (path / "meta.json").read_bytes()
    assert meta_of(tmp_path) == before.replace(b"2026-10-01T13:00:00Z", b"2026-10-02T08:00:00Z") != before
    assert meta_of(tmp_path, as_listed=False) == before == (path / "meta.json").read_bytes()


@pytest.mark.parametrize("told", [None, "", "yesterday", "2026-10-01T15:00:00+02:00", "2026-10-01T13:00:00"])
def test_a_meta_json_that_tells_no_time_or_the_same_stays_to_the_byte(tmp_path: Path, told: str | None) -> None:
    path = make_conversation(tmp_path, meta={"updated_at": told}, events=[make_event(0)])
    assert meta_of(tmp_path) == (path / "meta.json").read_bytes()


@pytest.mark.parametrize("raw", [b"", b"torn", b"[]"])
def test_a_meta_json_that_cannot_be_read_goes_as_it_is(tmp_path: Path, raw: bytes) -> None:
    path = make_conversation(tmp_path)
    (path / "meta.json").write_bytes(raw)
    found = next(read_files(tmp_path, make_id(1), with_secrets=True))
    assert found == ArchiveFile("meta.json", raw)


def test_the_order_is_metadata_events_and_the_rest_by_name(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=2)
    (path / "convstore.json").write_text("{}")
    (path / "observations" / "b").mkdir(parents=True)
    (path / "observations" / "b" / "x.txt").write_text("x")
    (path / "observations" / "a.txt").write_text("a")
    assert names(tmp_path) == [
        "meta.json",
        "base_state.json",
        "convstore.json",
        f"events/event-00000-{make_event(0)['id']}.json",
        f"events/event-00001-{make_event(1)['id']}.json",
        "observations/a.txt",
        "observations/b/x.txt",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "owner_lease.json", ".owner_lease.last", ".owner_lease.lock",
        "events/.eventlog.lock", "events/.eventlog-len-2.marker",
        ".meta.json.x.tmp", "acp/key.json",
    ],
)  # fmt: skip
def test_locks_leases_markers_and_credentials_of_a_run_are_no_part_of_it(tmp_path: Path, name: str) -> None:
    path = make_conversation(tmp_path)
    before = names(tmp_path)
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text("{}")
    assert names(tmp_path) == before


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    path = make_conversation(tmp_path)
    before = names(tmp_path)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("s")
    (path / "linked").symlink_to(tmp_path / "secret")
    (path / "linked.txt").symlink_to(tmp_path / "secret" / "file")
    os.mkfifo(path / "pipe")
    assert names(tmp_path) == before


@pytest.mark.parametrize("name", ["a\\b", "con", "a:b", "new\nline", "dot."])
def test_a_name_that_cannot_be_imported_everywhere_is_left_out_and_told(tmp_path: Path, name: str) -> None:
    path = make_conversation(tmp_path)
    (path / "observations").mkdir()
    (path / "observations" / name).write_text("x")
    [one] = left_out(tmp_path)
    assert one.name == f"observations/{name}"


def test_a_torn_state_is_left_out_for_the_secrets_in_it(tmp_path: Path) -> None:
    path = make_conversation(tmp_path)
    (path / "base_state.json").write_text('{"agent": {"llm": {"api_key": "planted')
    assert left_out(tmp_path) == [
        LeftOutFile("base_state.json", "it is damaged, so that secrets in it cannot be found")
    ]
    assert "base_state.json" in names(tmp_path, with_secrets=True)


def test_no_head_is_exported_whose_event_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is appended, and HEAD moved, between the look at the names and that at the state."""
    path = make_conversation(tmp_path, events=1)
    plain, calls = layout.read_file, iter(range(100))

    def read_file(name: str, dir_fd: int) -> tuple[bytes, int]:
        found = plain(name, dir_fd)
        if name == "base_state.json" and next(calls) == 0:
            write_event(path, 1)
            (path / "base_state.json").write_text(json.dumps({"leaf_event_id": make_event(1)["id"]}))
        return found

    monkeypatch.setattr(layout, "read_file", read_file)
    files = {one.name: one for one in read_files(tmp_path, make_id(1)) if isinstance(one, ArchiveFile)}
    assert json.loads(files["base_state.json"].raw)["leaf_event_id"] == make_event(1)["id"]
    assert f"events/event-00001-{make_event(1)['id']}.json" in files


def test_an_export_opens_each_event_and_asks_nothing_else_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_conversation(tmp_path, events=3)
    asked: list[object] = []
    stat = os.stat

    def count(name: str, **how: Any) -> os.stat_result:
        asked.append(name)
        return stat(name, **how)

    monkeypatch.setattr(os, "stat", count)
    assert len(names(tmp_path)) == 5
    assert not [name for name in asked if str(name).startswith("event-")]
