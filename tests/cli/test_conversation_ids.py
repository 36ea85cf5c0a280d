"""Conversations that are named by ids or prefixes of them, one or several at once."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from app.files import trash
from app.files.trash import list_trash
from app.model.ids import ConversationId, dashed
from tests.builders import make_conversation, make_id, names_in
from tests.cli.conftest import Command, owned_by_another_process

IDS = [make_id(number) for number in (1, 2, 3)]


@pytest.mark.long
@pytest.mark.parametrize("command", ["delete", "archive", "pin"])
def test_all_are_checked_before_the_first_is_changed(three: Path, convstore: Command, command: str) -> None:
    with owned_by_another_process(three, IDS[1]):
        ran = convstore(command, *IDS, "--store", three)
    assert (ran.code, ran.out) == (2, "")
    assert f"{IDS[1]} is owned by" in ran.err
    assert ran.err.endswith("; or use --force\n")
    assert [(three / one / "convstore.json").exists() for one in IDS] == [False] * 3
    assert list_trash(three) == []


def test_one_that_is_named_twice_is_changed_once(three: Path, convstore: Command) -> None:
    for command in ("archive", "delete", "restore"):
        ran = convstore(command, IDS[0], dashed(ConversationId(IDS[0])), "--store", three)
        assert (ran.code, len(ran.out.splitlines()), ran.err) == (0, 1, "")


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zz", "'zz' is neither a conversation id nor"),
        ("ffff", "no conversation's id begins with 'ffff'"),
        ("0000", "several ids begin with '0000'"),
        (make_id(9), "no conversation has the id 00000000-0000-4000-8000-000000000009"),
    ],
)
def test_an_id_that_leads_nowhere_is_explained(text: str, message: str, root: Path, convstore: Command) -> None:
    make_conversation(root, 1)
    make_conversation(root, 2)
    convstore("index", "sync", "--store", root)
    ran = convstore("show", text, "--store", root)
    assert ran.code == 2
    assert message in ran.err


@pytest.mark.parametrize("around", ["{{{}}}", " {} ", "{}/", "urn:uuid:{}", "'{}'", "{}\n"])
def test_an_id_is_understood_as_it_was_pasted(three: Path, convstore: Command, around: str) -> None:
    whole = around.format(dashed(ConversationId(IDS[0])))
    assert dashed(ConversationId(IDS[0])) in convstore("show", whole, "--json", "--store", three).out
    assert convstore("list", "--parent", whole, "--store", three).code == 0


def test_the_beginning_of_an_id_may_end_in_a_slash(corpus: Path, convstore: Command) -> None:
    assert convstore("show", "7e2749/", "--store", corpus).code == 0
