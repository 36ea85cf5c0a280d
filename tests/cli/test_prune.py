"""`convstore prune`: what it takes, what it keeps, and that it can be undone."""

from __future__ import annotations

import errno
import json
import os
import pty
import signal
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.files import trash
from app.files.trash import list_trash
from app.model.event import STATE_UPDATE
from app.model.filters import ConversationFilter
from app.model.ids import ConversationId, dashed
from app.store.admin import prune
from tests.builders import make_conversation, make_event, make_id, names_in, write_event
from tests.cli.conftest import COMMAND, Command, owned_by_another_process, read_question
from tests.conftest import StoreOpener


def make_old(root: Path, number: int, days: int, status: str = "finished", **tags: str) -> Path:
    """Make a conversation in which something was last said so many days ago."""
    said = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    meta = {"created_at": "2026-01-01T00:00:00Z", "updated_at": said, "tags": tags}
    state, events = {"execution_status": status, "tags": tags}, [make_event(0, timestamp=said)]
    path = make_conversation(root, number, meta=meta, state=state, events=events)
    for file in path.rglob("*"):
        os.utime(file, (time.time() - days * 86400,) * 2)
    return path


@pytest.fixture
def five(root: Path) -> Path:
    make_old(root, 1, 200)
    make_old(root, 2, 200, "idle")
    make_old(root, 3, 200, pinned="yes")
    make_old(root, 4, 10)
    make_old(root, 5, 300)
    return root


def test_what_is_old_enough_goes_into_the_trash_and_comes_back(five: Path, convstore: Command) -> None:
    asked = ("prune", "--older-than", "180d", "--status", "finished", "--keep-tag", "pinned", "--store", five)
    dry = convstore(*asked, "--dry-run")
    assert (dry.code, dry.err, list_trash(five)) == (0, "", [])
    assert dry.out.index(dashed(ConversationId(make_id(5)))) < dry.out.index(dashed(ConversationId(make_id(1))))
    assert dry.out.endswith("\n2 would be moved into the trash\n")
    ran = convstore(*asked, "--yes", "--json")
    assert [item["error"] for item in ran.json["items"]] == [None, None]
    assert {name for name in names_in(five) if name[0] != "."} == {make_id(2), make_id(3), make_id(4)}
    assert convstore(*asked, "--yes").out == "0 moved into the trash\n"
    assert convstore("restore", *(make_id(number) for number in (1, 5)), "--store", five).code == 0
    assert convstore("count", "--store", five).out == "5\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), {1, 2, 3, 5}),
        (("--active-before", f"{datetime.now(UTC) - timedelta(days=250):%Y-%m-%d}"), {5}),
        (("--keep-tag", "pinned:no"), {1, 2, 3, 5}),
        (("--keep-tag", "pinned:yes", "--keep-tag", "other"), {1, 2, 5}),
        (("--keep-tag", "pinned=yes"), {1, 2, 5}),
        (("--tag", "pinned=yes"), {3}),
        (("--status", "idle"), {2}),
        (("--before", f"{datetime.now(UTC) - timedelta(days=250):%Y-%m-%d}"), {5}),
        (("--tag", "pinned", "--title", "a TITLE"), {3}),
        (("--max-cost", "0"), set()),
        (("--archived", "true"), set()),
        (("--status", "idle", "--status", "error"), {2}),
    ],
)
def test_filters_and_tags_narrow_what_is_taken(
    five: Path, convstore: Command, options: tuple[str, ...], expected: set[int]
) -> None:
    ran = convstore("prune", "--older-than", "180d", *options, "--dry-run", "--json", "--store", five)
    assert {item["id"] for item in ran.json["items"]} == {dashed(ConversationId(make_id(one))) for one in expected}


def taken(root: Path, convstore: Command, age: str = "30d") -> set[str]:
    ran = convstore("prune", "--older-than", age, "--dry-run", "--json", "--store", root)
    return {item["id"].replace("-", "") for item in ran.json["items"]}


def test_what_is_renamed_or_tagged_gets_no_younger(root: Path, convstore: Command) -> None:
    make_old(root, 1, 100)
    convstore("rename", make_id(1), "A new title", "--store", root)
    convstore("tag", make_id(1), "area=auth", "--store", root)
    assert taken(root, convstore) == {make_id(1)}


def test_what_was_said_yesterday_stays_whatever_meta_json_says(root: Path, convstore: Command) -> None:
    said = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    path, _ = make_old(root, 1, 100), make_old(root, 2, 100)
    write_event(path, 1, make_event(1, timestamp=said))
    os.utime(path / "meta.json")
    assert taken(root, convstore) == {make_id(2)}


def test_a_new_fork_stays_although_its_events_are_old(root: Path, convstore: Command) -> None:
    make_old(root, 1, 100)
    assert convstore("fork", make_id(1), "--store", root).code == 0
    assert taken(root, convstore) == {make_id(1)}


def test_one_that_is_new_and_in_which_nothing_was_said_stays(root: Path, convstore: Command) -> None:
    for number, days in ((1, 1), (2, 100)):
        created = (datetime.now(UTC) - timedelta(days=days)).isoformat()
        make_conversation(root, number, meta={"created_at": created, "updated_at": created}, events=0)
    assert taken(root, convstore) == {make_id(2)}


def test_a_long_end_that_tells_no_time_leaves_it_to_updated_at(root: Path, convstore: Command) -> None:
    for number, days in ((1, 1), (2, 100)):
        path = make_old(root, number, days)
        for place in range(1, 80):
            write_event(path, place, make_event(place, kind=STATE_UPDATE))
    assert taken(root, convstore) == {make_id(2)}


def test_an_age_must_be_given_and_somebody_asked(five: Path, convstore: Command) -> None:
    assert convstore("prune", "--store", five).code == 2
    ran = convstore("prune", "--older-than", "1d", "--store", five)
    assert (ran.code, "Move 5 conversations into the trash? Standard input is not a terminal" in ran.err) == (2, True)
    assert list_trash(five) == []


def interrupt(asking: subprocess.Popen[bytes]) -> None:
    """Do as a terminal does for its own programs; once more, as a person would, where it came just before the read."""
    while asking.poll() is None:
        asking.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            asking.wait(5)


@pytest.mark.long
@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("\x04", 2), ("n\n", 2), ("y\n", 0)], ids=repr)
def test_it_ends_as_the_question_is_answered(five: Path, key: str, code: int) -> None:
    outside, terminal = pty.openpty()
    command = [str(COMMAND), "prune", "--older-than", "1d", "--store", str(five)]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal) as asking:
        os.close(terminal)
        read_question(outside)
        if key == "\x03":
            interrupt(asking)
        os.write(outside, key.encode())
        assert asking.wait(60) == code
    os.close(outside)
    assert len(list_trash(five)) == (5 if code == 0 else 0)


def test_what_another_process_writes_to_stays(five: Path, convstore: Command) -> None:
    with owned_by_another_process(five, make_id(1)):
        ran = convstore("prune", "--older-than", "180d", "--status", "finished", "--yes", "--store", five)
    assert (ran.code, ran.out.endswith("\n2 moved into the trash\n")) == (0, True)
    assert f"{dashed(ConversationId(make_id(1)))} stays: " in ran.err


async def test_what_changed_since_it_was_chosen_stays(five: Path, open_store: StoreOpener) -> None:
    async with open_store(five) as store:
        [first, *_] = chosen = await prune.find_candidates(store, ConversationFilter())
        meta = five / first.id / "meta.json"
        meta.write_text(json.dumps(json.loads(meta.read_text()) | {"title": "used again"}))
        await store.delete(chosen[1].id)
        async with store.writer(chosen[2].id) as conversation:
            await conversation.update(pinned=True)
        left = await prune.find_candidates(store, ConversationFilter())
        assert [one.id for one in left] == [first.id, chosen[3].id, chosen[4].id]
        done = await prune.prune(store, chosen[:4])
    changed = "it has changed since it was found"
    assert [one.error for one in done] == [changed, "it was already deleted", changed, None]
    assert meta.exists()


def test_prune_ends_with_an_error_when_moves_failed(
    root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(_source: Path, _target: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    make_conversation(root)
    monkeypatch.setattr(trash, "rename", rename)
    asked = ("prune", "--older-than", "1m", "--before", "2099-01-01", "--yes", "--store", root)
    ran = convstore(*asked)
    assert (ran.code, list_trash(root)) == (2, [])
    assert ran.out.endswith("\n0 moved into the trash\n")
    assert "Input/output error" in ran.err
    assert convstore(*asked, "--json").code == 2
