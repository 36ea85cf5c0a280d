"""rename, tag, fork, delete, and the trash."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.files.trash import list_trash, move_to_trash
from app.model.ids import ConversationId, dashed
from tests.builders import details_in, make_conversation, make_event, make_foreign, make_id, names_in, second_process
from tests.cli.conftest import Command

ONE = make_id(1)

_OWN = """
import asyncio, sys
from pathlib import Path
from app import ConversationStore, Settings
async def main():
    async with ConversationStore.open(Settings(store=Path(sys.argv[1]))) as store:
        async with store.writer(sys.argv[2]) as conversation:
            print("open", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""


def meta(path: Path) -> dict[str, object]:
    value: dict[str, object] = json.loads((path / "meta.json").read_text())
    return value


def test_renaming_and_tagging(root: Path, convstore: Command) -> None:
    path = make_conversation(root, state={"tags": {"old": "1", "gone": "2"}})
    assert convstore("rename", ONE, "A new name", "--store", root).code == 0
    ran = convstore("tag", ONE, "area=store", "gone=", "--store", root)
    assert (ran.code, ran.out) == (0, "area=store old=1\n")
    assert (meta(path)["title"], meta(path)["tags"]) == ("A new name", {"old": "1", "area": "store"})
    assert convstore("rename", ONE, " ", "--store", root).code == 2
    assert convstore("tag", ONE, "area", "--store", root).code == 2
    shown = convstore("show", ONE, "--store", root, "--json").json["conversation"]
    assert (shown["title"], shown["tags"]) == ("A new name", {"old": "1", "area": "store"})


def test_forking_prints_the_new_id(root: Path, convstore: Command) -> None:
    make_conversation(root, events=4)
    ran = convstore("fork", ONE, "--title", "Copy", "--from-event", make_event(1)["id"], "--store", root)
    made = ran.out.strip()
    shown = convstore("show", made, "--store", root, "--json").json
    assert (shown["conversation"]["title"], len(shown["events"])) == ("Copy", 2)


def test_deleting_and_restoring(root: Path, convstore: Command) -> None:
    path = make_conversation(root)
    assert convstore("delete", ONE, "--store", root, "--dry-run").out.startswith("would be deleted: ")
    assert path.exists()
    assert convstore("delete", ONE, "--store", root, "--json").json["dry_run"] is False
    assert not path.exists()
    assert convstore("trash", "list", "--store", root, "--json").json["items"][0]["title"] == "A title"
    assert "A title" in convstore("trash", "list", "--store", root).out
    assert convstore("trash", "restore", ONE, "--dry-run", "--store", root).out.startswith("would be restored: ")
    assert convstore("restore", "ffff", "--store", root).code == 2
    assert convstore("restore", ONE[:12], "--store", root).code == 0
    assert path.exists()
    assert convstore("delete", ONE, "--permanent", "--yes", "--store", root).code == 0
    assert convstore("restore", ONE, "--store", root).code == 2


def test_archiving_and_pinning_is_undone_and_repeated(root: Path, convstore: Command) -> None:
    path = make_conversation(root)
    for _ in range(2):
        assert convstore("archive", ONE, "--store", root).out == f"archived: {dashed(ConversationId(ONE))}\n"
        assert convstore("pin", ONE, "--store", root).code == 0
    assert convstore("count", "--store", root).out == "0\n"
    assert json.loads((path / "convstore.json").read_text()) == {"archived": True, "pinned": True}
    assert convstore("unpin", ONE, "--store", root).code == 0
    assert convstore("unarchive", ONE, "--store", root, "--json").json["dry_run"] is False
    assert convstore("count", "--store", root).out == "1\n"
    assert json.loads((path / "convstore.json").read_text()) == {"archived": False, "pinned": False}


@pytest.mark.parametrize(
    "command",
    [("rename", ONE, "x"), ("archive", ONE), ("pin", ONE), ("tag", ONE, "a=b"), ("fork", ONE), ("delete", ONE)],
)
def test_a_dry_run_changes_nothing(root: Path, convstore: Command, command: tuple[str, ...]) -> None:
    make_conversation(root)
    before = {path: path.read_bytes() for path in root.rglob("*.json")}
    ran = convstore(*command, "--dry-run", "--store", root, "--json")
    assert (ran.code, ran.json["dry_run"]) == (0, True)
    assert {path: path.read_bytes() for path in root.rglob("*.json")} == before


@pytest.mark.parametrize("command", [("rename", ONE, " "), ("tag", ONE, "A=b"), ("fork", ONE, "--from-event", "x")])
def test_a_dry_run_finds_what_would_be_refused(root: Path, convstore: Command, command: tuple[str, ...]) -> None:
    make_conversation(root)
    assert convstore(*command, "--dry-run", "--store", root).code == 2


def test_emptying_the_trash_takes_what_is_old_enough(root: Path, convstore: Command) -> None:
    now_us = time.time_ns() // 1000
    for number, days in ((1, 3), (2, 1)):
        move_to_trash(root, make_conversation(root, number).name, now_us - days * 86_400_000_000)
    dry = convstore("trash", "empty", "--older-than", "2d", "--dry-run", "--store", root)
    assert (dry.out, len(list_trash(root))) == ("1 conversation would be removed for good\n", 2)
    ran = convstore("trash", "empty", "--older-than", "48h", "--yes", "--store", root, "--json")
    assert (ran.json["ids"], [one.id for one in list_trash(root)]) == ([dashed(ConversationId(ONE))], [make_id(2)])
    assert convstore("trash", "list", "--older-than", "2d", "--store", root, "--json").json == {"items": []}
    assert convstore("trash", "empty", "--yes", "--store", root).out == "1 conversation removed for good\n"
    (root / ".trash" / f".copy-{ONE}.1.00000000").mkdir()  # of a repair that was killed
    assert convstore("trash", "empty", "--store", root).out == "0 conversations removed for good\n"
    assert names_in(root / ".trash") == []
    assert convstore("trash", "empty", "--older-than", "soon", "--store", root).code == 2


@pytest.mark.parametrize("command", [("delete", ONE, "--permanent"), ("trash", "empty")], ids=" ".join)
@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 2, 1)])
def test_what_cannot_be_undone_is_asked_for(
    root: Path, convstore: Command, command: tuple[str, ...], answer: str, code: int, left: int
) -> None:
    path = make_conversation(root)
    if command[0] == "trash":
        move_to_trash(root, path.name, 1)
    unasked = convstore(*command, "--store", root)
    assert (unasked.code, "Nobody can be asked here; give --yes" in unasked.err) == (2, True)
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    ran = subprocess.run(
        [sys.executable, "-m", "app.cli.main", *command, "--store", root],
        stdin=theirs, capture_output=True, text=True, check=False,
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    assert (ran.returncode, ran.stderr.rstrip()) == (code, "Remove 1 conversation for good? [y/N]:")
    assert len(list(root.rglob("meta.json"))) == left


def test_what_is_deleted_while_the_question_waits_is_kept(root: Path) -> None:
    now_us = time.time_ns() // 1000
    move_to_trash(root, make_conversation(root, 1).name, now_us - 1)
    outside, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "app.cli.main", "trash", "empty", "--store", str(root)],
        stdin=terminal, stdout=terminal, stderr=terminal,
    ) as asking:  # fmt: skip
        os.close(terminal)
        said = b""
        while b"[y/N]: " not in said:
            said += os.read(outside, 4096)
        move_to_trash(root, make_conversation(root, 2).name, time.time_ns() // 1000)
        os.write(outside, b"y\n")
        assert asking.wait(20) == 0
    os.close(outside)
    assert [one.id for one in list_trash(root)] == [make_id(2)]


def test_what_another_process_writes_to_is_refused_unless_forced(root: Path, convstore: Command) -> None:
    path = make_conversation(root)
    with second_process(_OWN, root, ONE) as other:
        assert other.hear() == "open"
        ran = convstore("rename", ONE, "x", "--store", root)
        assert (ran.code, "is owned by convstore-" in ran.err) == (2, True)
        assert convstore("delete", ONE, "--store", root).code == 2
        assert convstore("delete", ONE, "--force", "--store", root).code == 0
    assert not path.exists()


def test_no_command_touches_what_is_no_conversation(root: Path, convstore: Command) -> None:
    make_conversation(root, 2)
    make_foreign(root / ONE, "older OpenHands")
    before = details_in(root / ONE)
    for command in ("delete --permanent --yes --force", "delete --dry-run", "repair", "pin", "fork", "restore"):
        assert convstore(*command.split(), ONE, "--store", root).code == 2, command
    for command in ("index sync", "prune --older-than 1m --yes", "trash empty --yes"):
        assert convstore(*command.split(), "--store", root).code == 0, command
    assert details_in(root / ONE) == before
