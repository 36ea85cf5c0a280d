"""Several conversations named at once, ids that the index has not seen, and what a command says that fails half-way."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from app.files import trash
from app.files.trash import list_trash, move_to_trash
from app.model.ids import ConversationId, dashed
from tests.builders import make_conversation, make_id, names_in, second_process
from tests.cli.conftest import Command
from tests.cli.test_writing import _OWN

IDS = [make_id(number) for number in (1, 2, 3)]


@pytest.fixture
def three(root: Path) -> Path:
    for number in (1, 2, 3):
        make_conversation(root, number)
    return root


@pytest.mark.parametrize("command", ["delete", "archive", "pin"])
def test_all_are_checked_before_the_first_is_changed(three: Path, convstore: Command, command: str) -> None:
    with second_process(_OWN, three, IDS[1]) as other:
        assert other.hear() == "open"
        ran = convstore(command, *IDS, "--store", three)
    assert (ran.code, ran.out) == (2, "")
    assert f"{IDS[1]} is owned by" in ran.err
    assert ran.err.endswith("; --force does it all the same\n")
    assert [(three / one / "convstore.json").exists() for one in IDS] == [False] * 3
    assert list_trash(three) == []


def test_one_that_is_named_twice_is_changed_once(three: Path, convstore: Command) -> None:
    for command in ("archive", "delete", "restore"):
        ran = convstore(command, IDS[0], dashed(ConversationId(IDS[0])), "--store", three)
        assert (ran.code, len(ran.out.splitlines()), ran.err) == (0, 1, "")


def test_none_is_restored_when_one_cannot_be(three: Path, convstore: Command) -> None:
    move_to_trash(three, IDS[0], 1)
    move_to_trash(three, IDS[1], 2)
    make_conversation(three, 2)
    ran = convstore("restore", *IDS[:2], "--store", three)
    assert (ran.code, ran.out, len(list_trash(three))) == (2, "", 2)


def test_what_was_done_is_told_when_one_fails(three: Path, convstore: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(source: Path, target: Path) -> None:
        if source.name == IDS[1]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        source.rename(target)

    monkeypatch.setattr(trash, "rename", rename)
    ran = convstore("delete", *IDS, "--store", three)
    assert (ran.code, ran.out) == (2, f"deleted: {dashed(ConversationId(IDS[0]))}\n")
    assert "Input/output error" in ran.err
    assert {IDS[1], IDS[2]} <= set(names_in(three))


@pytest.mark.parametrize("command", [("tail",), ("rename", "A name"), ("fork",), ("delete",), ("repair",)], ids=str)
def test_the_beginning_of_an_id_that_the_index_has_not_seen_is_found(
    corpus: Path, tmp_path: Path, convstore: Command, command: tuple[str, ...]
) -> None:
    [late] = corpus.glob("7e2749*")
    late.rename(tmp_path / late.name)
    assert convstore("count", "--store", corpus).out == "29\n"
    (tmp_path / late.name).rename(late)
    name, *more = command
    assert convstore(name, "7e2749", *more, "--store", corpus).code == 0


def test_the_beginning_of_an_id_is_found_without_an_index(corpus: Path, convstore: Command) -> None:
    shutil.rmtree(corpus / ".convstore")
    assert convstore("tail", "7e2749", "--store", corpus).code == 0
