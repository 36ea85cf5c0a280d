"""Reading what a conversation's row needs."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from app.files.metadata_reader import Reader, read_conversation
from app.model.conversation import LOOK_BACK, ConversationFiles, LogSummary, fold
from app.model.event import STATE_UPDATE
from app.model.ids import ConversationId
from tests.builders import (
    make_conversation,
    make_event,
    make_id,
    make_message_event,
    make_meta,
    make_state,
    opened_files,
    write_event,
)

ONE = ConversationId(make_id(1))
NOON_US = 1_790_856_000_000_000
SECOND_US = 1_000_000


def read(root: Path) -> ConversationFiles:
    found = read_conversation(Reader(root, UTC), ONE, ONE)
    assert found is not None
    return found


def log_of(root: Path, events: list[dict[str, Any]], **meta: Any) -> LogSummary:
    make_conversation(root, meta=meta, events=events)
    return read(root).log


def mtime_ns(path: Path) -> int:
    return path.stat().st_mtime_ns


def test_everything_that_a_row_needs_is_read(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=3)
    last = max((path / "events").iterdir())
    assert read(tmp_path) == ConversationFiles(
        id=ONE,
        directory=ONE,
        meta=make_meta(ONE),
        meta_mtime_ns=mtime_ns(path / "meta.json"),
        state=make_state(ONE),
        log=LogSummary(3, None, NOON_US + 2 * SECOND_US, mtime_ns(last), preview="message 0"),
        modified_us=mtime_ns(path / "base_state.json") // 1000,
        problems=(),
        meta_placed_ns=(path / "meta.json").stat().st_ctime_ns,
    )


def test_without_a_meta_the_first_event_is_read_too(tmp_path: Path) -> None:
    (make_conversation(tmp_path, events=3) / "meta.json").unlink()
    found = read(tmp_path)
    assert (found.meta, found.meta_mtime_ns, found.problems) == (None, 0, ())
    assert (found.log.first_us, found.log.last_us) == (NOON_US, NOON_US + 2 * SECOND_US)


@pytest.mark.parametrize("created_at", [None, "", "yesterday", 5])
def test_a_meta_that_tells_no_creation_time_leaves_it_to_the_first_event(tmp_path: Path, created_at: object) -> None:
    make_conversation(tmp_path, meta={"created_at": created_at}, events=3)
    assert fold(read(tmp_path)).created_at == NOON_US


def test_a_copy_without_the_times_of_files_lists_the_same(tmp_path: Path) -> None:
    events = [make_event(number, timestamp=f"2026-10-0{number + 1}T12:00:00") for number in range(4)]
    path = make_conversation(tmp_path, events=events)
    before = fold(read(tmp_path))
    shutil.copytree(path, tmp_path / "copy" / ONE, copy_function=shutil.copyfile)
    os.utime(tmp_path / "copy" / ONE / "meta.json")  # as if it were copied last
    copied = fold(read(tmp_path / "copy"))
    assert (copied.updated_at, copied.last_event_at) == (before.updated_at, before.last_event_at)
    assert copied.updated_at == NOON_US + 3 * 86400 * SECOND_US


def test_an_event_of_a_time_to_come_has_that_of_its_file(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=[make_event(0), make_event(1, timestamp="2126-01-01T00:00:00")])
    last = max((path / "events").iterdir())
    os.utime(last, ns=(mtime_ns(last) - 10**15,) * 2)
    os.utime(path / "meta.json", ns=(mtime_ns(last) - 10**15,) * 2)
    row = fold(read(tmp_path))
    assert row.updated_at == row.last_event_at == mtime_ns(last) // 1000


def test_a_meta_of_a_time_to_come_is_not_believed(tmp_path: Path) -> None:
    make_conversation(tmp_path, meta=dict.fromkeys(("created_at", "updated_at"), "2126-01-01T00:00:00Z"))
    row = fold(read(tmp_path))
    assert (row.created_at, row.updated_at) == (NOON_US, NOON_US + SECOND_US)


def test_files_of_an_unpacked_zip_tell_times_after_1980(tmp_path: Path) -> None:
    path = make_conversation(tmp_path)
    before = fold(read(tmp_path))
    for file in path.rglob("*.json"):
        os.utime(file, (315_532_800,) * 2)
    after = fold(read(tmp_path))
    assert (after.created_at, after.updated_at) == (before.created_at, before.updated_at)
    assert after.last_event_at == before.last_event_at == NOON_US + SECOND_US


def test_without_any_event_the_log_is_empty(tmp_path: Path) -> None:
    assert log_of(tmp_path, []) == LogSummary()


def test_state_updates_at_the_end_are_no_activity(tmp_path: Path) -> None:
    events = [make_event(0), make_event(1), make_event(2, kind=STATE_UPDATE), make_event(3, kind=STATE_UPDATE)]
    assert log_of(tmp_path, events).last_us == NOON_US + SECOND_US


def test_a_log_of_state_updates_alone_has_no_activity(tmp_path: Path) -> None:
    log = log_of(tmp_path, [make_event(number, kind=STATE_UPDATE) for number in range(3)])
    assert (log.event_count, log.last_us) == (3, None)


@pytest.mark.parametrize("odd", [b"", b"torn", b'{"timestamp": "yesterday"}', b"{}"])
def test_a_last_event_without_a_time_leaves_it_to_the_one_before(tmp_path: Path, odd: bytes) -> None:
    write_event(make_conversation(tmp_path, events=3), 2).write_bytes(odd)
    found = read(tmp_path)
    assert (found.log.event_count, found.log.last_us, found.problems) == (3, NOON_US + SECOND_US, ())


def test_a_long_end_without_a_time_is_not_read_through(tmp_path: Path) -> None:
    log = log_of(tmp_path, [make_event(0), *(make_event(number, kind=STATE_UPDATE) for number in range(1, 80))])
    assert (log.event_count, log.last_us) == (80, None)


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        ("base_state.json", None, "base_state.json: missing"),
        ("base_state.json", b"", "base_state.json: the file is empty"),
        ("base_state.json", b"[]", "base_state.json: not a JSON object"),
        ("meta.json", b"", "meta.json: the file is empty"),
        ("meta.json", b"null", "meta.json: not a JSON object"),
    ],
)
def test_a_problem_names_its_file(tmp_path: Path, name: str, damage: bytes | None, problem: str) -> None:
    path = make_conversation(tmp_path) / name
    path.unlink() if damage is None else path.write_bytes(damage)
    assert read(tmp_path).problems == (problem,)


def test_every_problem_is_told(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=0)
    (path / "meta.json").write_text("")
    (path / "base_state.json").unlink()
    (path / "base_state.json").mkdir()
    (path / "events").rmdir()
    (path / "events").touch()
    assert read(tmp_path).problems == (
        "meta.json: the file is empty",
        "base_state.json: not a regular file",
        "events/ cannot be listed (Not a directory)",
    )


@pytest.mark.parametrize("kept", ["meta.json", "base_state.json", "events"])
def test_one_file_of_a_conversation_makes_it_one(tmp_path: Path, kept: str) -> None:
    path = make_conversation(tmp_path)
    for name in {"meta.json", "base_state.json", "events"} - {kept}:
        (path / name).rename(tmp_path / name)
    assert read(tmp_path).id == ONE


@pytest.mark.parametrize("names", [[], ["events"], ["observations", "bash_events"]])
def test_a_directory_with_lock_and_lease_files_alone_is_no_conversation(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / ONE).mkdir()
    (tmp_path / ONE / ".owner_lease.lock").touch()
    (tmp_path / ONE / "owner_lease.json").write_text(json.dumps({"generation": 1}))
    for name in names:
        (tmp_path / ONE / name).mkdir()
        (tmp_path / ONE / name / ".eventlog.lock").touch()
    assert read_conversation(Reader(tmp_path, UTC), ONE, ONE) is None


def test_what_is_no_directory_is_no_conversation(tmp_path: Path) -> None:
    reader = Reader(tmp_path, UTC)
    assert read_conversation(reader, ONE, ONE) is None
    (tmp_path / ONE).touch()
    assert read_conversation(reader, ONE, ONE) is None


def test_files_from_the_epoch_are_read(tmp_path: Path) -> None:
    path = make_conversation(tmp_path, events=0)
    for name in ("meta.json", "base_state.json"):
        os.utime(path / name, ns=(0, 0))
    found = read(tmp_path)
    assert (found.meta, found.state, found.problems) == (make_meta(ONE), make_state(ONE), ())


PROMPT = {"kind": "SystemPromptEvent", "source": "agent", "llm_message": None}


def test_a_preview_is_the_first_text_of_a_user(tmp_path: Path) -> None:
    events = [
        make_event(0, **PROMPT),
        make_message_event(1),
        make_message_event(2, "hello", source="agent"),
        make_message_event(3, "Fix the build"),
        make_message_event(4, "Now the tests"),
    ]
    assert log_of(tmp_path, events).preview == "Fix the build"
    (tmp_path / ONE / "meta.json").unlink()
    assert read(tmp_path).log.preview == "Fix the build"


@pytest.mark.parametrize("odd", [b"", b"torn", b"{}", b'{"kind": "MessageEvent"}'])
def test_a_damaged_event_before_a_preview_is_passed_over(tmp_path: Path, odd: bytes) -> None:
    write_event(make_conversation(tmp_path, events=3), 0).write_bytes(odd)
    assert read(tmp_path).log.preview == "message 1"


def test_a_preview_is_looked_for_in_so_many_events(tmp_path: Path) -> None:
    log = [make_event(number, **PROMPT) for number in range(LOOK_BACK)]
    assert log_of(tmp_path / "a", [*log[1:], make_event(100)]).preview == "message 100"
    make_conversation(tmp_path / "b", events=[*log, make_event(100)])
    with opened_files() as opened:
        assert read(tmp_path / "b").log.preview is None
    assert len(opened) < LOOK_BACK + 10
