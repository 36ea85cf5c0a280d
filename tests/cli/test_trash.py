"""`convstore delete`, `restore` and `trash`."""

from __future__ import annotations

import os
import pty
import subprocess
import time
from pathlib import Path

import pytest

from app.files import layout
from app.files.trash import list_trash, move_to_trash
from app.model.ids import ConversationId, dashed
from tests.builders import make_conversation, make_id, names_in
from tests.cli.conftest import COMMAND, Command, read_question

ONE, TWO = make_id(1), make_id(2)


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


@pytest.mark.long
@pytest.mark.parametrize("command", [("delete", ONE, "--permanent"), ("trash", "empty")], ids=" ".join)
@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 2, 1)])
def test_what_cannot_be_undone_is_asked_for(
    root: Path, convstore: Command, command: tuple[str, ...], answer: str, code: int, left: int
) -> None:
    path = make_conversation(root)
    if command[0] == "trash":
        move_to_trash(root, path.name, 1)
    unasked = convstore(*command, "--store", root)
    assert (unasked.code, "Standard input is not a terminal; give --yes" in unasked.err) == (2, True)
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    ran = subprocess.run(
        [COMMAND, *command, "--store", root],
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
        [COMMAND, "trash", "empty", "--store", str(root)],
        stdin=terminal, stdout=terminal, stderr=terminal,
    ) as asking:  # fmt: skip
        os.close(terminal)
        read_question(outside)
        move_to_trash(root, make_conversation(root, 2).name, time.time_ns() // 1000)
        os.write(outside, b"y\n")
        assert asking.wait(60) == 0
    os.close(outside)
    assert [one.id for one in list_trash(root)] == [make_id(2)]


def test_none_is_restored_when_one_cannot_be(three: Path, convstore: Command) -> None:
    move_to_trash(three, ONE, 1)
    move_to_trash(three, TWO, 2)
    make_conversation(three, 2)
    ran = convstore("restore", ONE, TWO, "--store", three)
    assert (ran.code, ran.out, len(list_trash(three))) == (2, "", 2)


def test_restoring_many_lists_the_trash_once(root: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 6):
        move_to_trash(root, make_conversation(root, number).name, number)
    listed: list[int] = []
    list_all = layout.list_all

    def count_listings(fd: int) -> list[str]:
        listed.append(fd)
        return list_all(fd)

    monkeypatch.setattr(layout, "list_all", count_listings)
    ids = [make_id(number) for number in range(1, 6)]
    ran = convstore("restore", *ids, "--store", root)
    assert (ran.code, len(ran.out.splitlines()), len(listed)) == (0, 5, 1)
